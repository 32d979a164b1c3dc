"""Priors: what the dense heads predict relative to."""

from kdet.priors.anchors import AnchorGenerator, grid_boxes
from kdet.priors.points import PointGenerator

__all__ = ["AnchorGenerator", "PointGenerator", "grid_boxes"]
