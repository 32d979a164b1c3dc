"""Anchors whose sizes are listed level by level (SSD, YOLO)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.priors.anchors import AnchorGenerator
from kdet.registry import register
from kdet.typing import Array


@register
class SSDAnchorGenerator(AnchorGenerator):
    """SSD's default boxes (Liu et al., 2015): two squares and two shapes per ratio at every cell's center.

    Args:
        strides: pixels between neighboring cells, one per level.
        ratios: per level, the ratios r; boxes of shapes 1/r and r are made.
        sizes: side of the small square per level, and one value more: a level's large square is the
            geometric mean of its size and the next.
    """

    def __init__(
        self, strides: Sequence[int], ratios: Sequence[Sequence[float]], sizes: Sequence[float]
    ) -> None:
        if not len(strides) == len(ratios) == len(sizes) - 1:
            raise ValueError(
                f"SSDAnchorGenerator: {len(strides)} strides need as many lists of ratios, not "
                f"{len(ratios)}, and one size more, not {len(sizes)}."
            )
        self.strides = tuple(strides)
        self.base_anchors = [
            self.boxes_at(stride, self.shapes(own, size, next_size))
            for stride, own, size, next_size in zip(strides, ratios, sizes[:-1], sizes[1:])
        ]

    @property
    def num_anchors(self) -> list[int]:
        """Boxes per cell, a list over the levels."""
        return [len(base) for base in self.base_anchors]

    @staticmethod
    def shapes(ratios: Sequence[float], size: Any, next_size: float) -> Array:
        """Widths and heights ``[A,2]`` of one level's boxes."""
        large = size * np.float32(np.sqrt(next_size / size))
        root = np.sqrt(np.array([q for r in ratios for q in (1 / r, r)], np.float32))
        stretched = np.stack([size * (1 / root), size * root], -1)
        return np.concatenate([[[size, size], [large, large]], stretched]).astype(np.float32)

    @staticmethod
    def boxes_at(stride: int, shapes: Array) -> Array:
        """Boxes ``[A,4]`` of given widths and heights around the middle of the first cell."""
        return np.concatenate([stride / 2 - 0.5 * shapes, stride / 2 + 0.5 * shapes], -1).astype(np.float32)


@register
class LegacySSDAnchorGenerator(SSDAnchorGenerator):
    """SSD's default boxes as in MMDetection 1.x: whole pixels that include their last row and column."""

    @staticmethod
    def boxes_at(stride: int, shapes: Array) -> Array:
        half = 0.5 * (shapes - 1)
        center = (stride - 1) / 2
        return np.round(np.concatenate([center - half, center + half], -1)).astype(np.float32)


@register
class YOLOAnchorGenerator(AnchorGenerator):
    """Boxes of listed widths and heights at every cell's center (Redmon & Farhadi, 2016).

    Args:
        strides: pixels between neighboring cells, one per level.
        base_sizes: per level, a list of (width, height).
    """

    def __init__(self, strides: Sequence[int], base_sizes: Sequence[Any]) -> None:
        self.strides = tuple(strides)
        self.base_anchors = [
            SSDAnchorGenerator.boxes_at(stride, np.float32(sizes))
            for stride, sizes in zip(strides, base_sizes, strict=True)
        ]
