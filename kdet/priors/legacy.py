"""Anchors as MMDetection 1.x made them."""

from typing import Any

import numpy as np

from kdet.priors.anchors import AnchorGenerator
from kdet.registry import register
from kdet.typing import Array


@register
class LegacyAnchorGenerator(AnchorGenerator):
    """Anchors whose last column and row belong to them, with corners on whole pixels."""

    def _cell(self, base: Any, stride: int, scales: Array, ratios: Array) -> Array:
        boxes = super()._cell(base, stride, scales, ratios)
        sides = boxes[:, 2:] - boxes[:, :2] - 1.0
        center = self.center_offset * (base - 1.0)
        return np.concatenate([center - 0.5 * sides, center + 0.5 * sides], -1).round().astype(np.float32)
