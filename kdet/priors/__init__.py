"""Priors: what the dense heads predict relative to."""

from kdet.priors.anchors import AnchorGenerator, grid_boxes
from kdet.priors.base import PriorGenerator
from kdet.priors.legacy import LegacyAnchorGenerator
from kdet.priors.points import PointGenerator
from kdet.priors.sized_anchors import LegacySSDAnchorGenerator, SSDAnchorGenerator, YOLOAnchorGenerator

__all__ = [
    "PriorGenerator",
    "AnchorGenerator",
    "LegacyAnchorGenerator",
    "LegacySSDAnchorGenerator",
    "PointGenerator",
    "SSDAnchorGenerator",
    "YOLOAnchorGenerator",
    "grid_boxes",
]
