"""Priors: what the dense heads predict relative to."""

from kdet.priors.anchors import AnchorGenerator, grid_boxes

__all__ = ["AnchorGenerator", "grid_boxes"]
