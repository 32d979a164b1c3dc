"""Points on a grid: the priors of anchor-free heads."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.priors.anchors import valid_cells
from kdet.priors.base import PriorGenerator, Shape
from kdet.registry import register
from kdet.typing import Tensor


@register
class PointGenerator(PriorGenerator):
    """One point per cell of every level.

    Args:
        strides: pixels between neighboring cells, one per level.
        offset: place of the point in its cell, in strides.
    """

    num_anchors = 1

    def __init__(self, strides: Sequence[int], offset: float = 0.5) -> None:
        self.strides, self.offset = tuple(strides), offset

    def __call__(self, shapes: Sequence[Shape]) -> list[Tensor]:
        """Points of every level.

        Args:
            shapes: ``(h, w)`` of every level's map, ints or scalar tensors.

        Returns:
            list of float32 ``[h*w, 3]``: x, y in pixels and the stride of the level.
        """
        return [
            grid_points(stride, self.offset, h, w)
            for stride, (h, w) in zip(self.strides, shapes, strict=True)
        ]

    def valid(self, shapes: Sequence[Shape], padded_size: Tensor) -> Tensor:
        """Which points lie in the image, not in the batch's padding: ``[B, P]`` bool."""
        return valid_cells(self.strides, shapes, padded_size)


def grid_points(stride: int, offset: float, h: Any, w: Any) -> Tensor:
    """``[h*w, 3]`` (x, y, stride), row by row."""
    y = (tf.cast(tf.range(h), tf.float32) + offset) * stride
    x = (tf.cast(tf.range(w), tf.float32) + offset) * stride
    yy, xx = tf.meshgrid(y, x, indexing="ij")
    return tf.reshape(tf.stack([xx, yy, tf.fill(tf.shape(xx), float(stride))], -1), [-1, 3])
