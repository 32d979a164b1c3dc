"""Necks: feature maps to feature maps."""

from kdet.necks.bfp import BFP
from kdet.necks.dilated_encoder import DilatedEncoder
from kdet.necks.fpn import FPN
from kdet.necks.ssd_neck import SSDNeck
from kdet.necks.yolo import YOLOV3Neck

__all__ = ["BFP", "FPN", "DilatedEncoder", "SSDNeck", "YOLOV3Neck"]
