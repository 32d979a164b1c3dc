"""Necks: feature maps to feature maps."""

from kdet.necks.bfp import BFP
from kdet.necks.fpn import FPN
from kdet.necks.ssd_neck import SSDNeck

__all__ = ["BFP", "FPN", "SSDNeck"]
