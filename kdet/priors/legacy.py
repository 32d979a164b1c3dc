"""Anchors as MMDetection 1.x made them."""

import numpy as np

from kdet.priors.anchors import AnchorGenerator
from kdet.registry import register


@register
class LegacyAnchorGenerator(AnchorGenerator):
    """Anchors whose last column and row belong to them, with corners on whole pixels."""

    def _cell(self, base, stride, scales, ratios):
        boxes = super()._cell(base, stride, scales, ratios)
        sides = boxes[:, 2:] - boxes[:, :2] - 1.0
        centre = self.center_offset * (base - 1.0)
        return np.concatenate([centre - 0.5 * sides, centre + 0.5 * sides], -1).round().astype(np.float32)
