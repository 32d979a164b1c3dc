"""Coders: boxes to regression targets and back."""

from kdet.coders.base import Coder
from kdet.coders.bucketing import BucketingCoder
from kdet.coders.delta_xywh import DeltaXYWHCoder, LegacyDeltaXYWHCoder
from kdet.coders.distance import DistanceCoder, centerness
from kdet.coders.tblr import TBLRCoder
from kdet.coders.yolo import YOLOCoder

__all__ = [
    "Coder",
    "BucketingCoder",
    "DeltaXYWHCoder",
    "DistanceCoder",
    "LegacyDeltaXYWHCoder",
    "TBLRCoder",
    "YOLOCoder",
    "centerness",
]
