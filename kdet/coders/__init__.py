"""Coders: boxes to regression targets and back."""

from kdet.coders.delta_xywh import DeltaXYWHCoder
from kdet.coders.distance import DistanceCoder, centerness
from kdet.coders.legacy import LegacyDeltaXYWHCoder
from kdet.coders.yolo import YOLOCoder

__all__ = ["DeltaXYWHCoder", "DistanceCoder", "LegacyDeltaXYWHCoder", "YOLOCoder", "centerness"]
