"""Coders: boxes to regression targets and back."""

from kdet.coders.delta_xywh import DeltaXYWHCoder

__all__ = ["DeltaXYWHCoder"]
