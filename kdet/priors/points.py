"""Points on a grid: the priors of anchor-free heads."""

import tensorflow as tf

from kdet.priors.anchors import valid_cells
from kdet.registry import Component, register


@register
class PointGenerator(Component):
    """One point per cell of every level.

    Args:
        strides: pixels between neighboring cells, one per level.
        offset: place of the point in its cell, in strides.
    """

    num_anchors = 1

    def __init__(self, strides, offset=0.5):
        self.strides, self.offset = tuple(strides), offset

    def __call__(self, shapes):
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

    def valid(self, shapes, padded_size):
        """Which points lie in the image, not in the batch's padding: ``[B, P]`` bool."""
        return valid_cells(self.strides, shapes, padded_size)


def grid_points(stride, offset, h, w):
    """``[h*w, 3]`` (x, y, stride), row by row."""
    y = (tf.cast(tf.range(h), tf.float32) + offset) * stride
    x = (tf.cast(tf.range(w), tf.float32) + offset) * stride
    yy, xx = tf.meshgrid(y, x, indexing="ij")
    return tf.reshape(tf.stack([xx, yy, tf.fill(tf.shape(xx), float(stride))], -1), [-1, 3])
