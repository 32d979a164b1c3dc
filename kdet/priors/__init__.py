"""Priors: what the dense heads predict relative to."""

from kdet.priors.anchors import AnchorGenerator, grid_boxes
from kdet.priors.legacy import LegacyAnchorGenerator
from kdet.priors.points import PointGenerator

__all__ = ["AnchorGenerator", "LegacyAnchorGenerator", "PointGenerator", "grid_boxes"]
