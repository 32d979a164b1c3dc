"""Coders: boxes to regression targets and back."""

from kdet.coders.bucketing import BucketingCoder
from kdet.coders.delta_xywh import DeltaXYWHCoder, LegacyDeltaXYWHCoder
from kdet.coders.distance import DistanceCoder, centerness
from kdet.coders.tblr import TBLRCoder

__all__ = ["BucketingCoder", "DeltaXYWHCoder", "DistanceCoder", "LegacyDeltaXYWHCoder", "centerness"]
__all__ = ["DeltaXYWHCoder", "DistanceCoder", "TBLRCoder", "centerness"]
