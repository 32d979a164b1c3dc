"""Necks: feature maps to feature maps."""

from kdet.necks.fpn import FPN

__all__ = ["FPN"]
