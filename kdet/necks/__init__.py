"""Necks: feature maps to feature maps."""

from kdet.necks.bfp import BFP
from kdet.necks.dilated_encoder import DilatedEncoder
from kdet.necks.fpn import FPN

__all__ = ["BFP", "FPN", "DilatedEncoder"]
