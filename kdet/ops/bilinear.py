"""Weighted bilinear samples of maps, differentiable in the maps, the positions and the weights.

The portable forms of deformable convolution, deformable attention and point sampling stand on this.
"""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from kdet.typing import Tensor


def bilinear_rows(
    table: Tensor,
    first: Tensor,
    height: Tensor,
    width: Tensor,
    step: int,
    y: Tensor,
    x: Tensor,
    weight: Tensor,
) -> Tensor:
    """Samples maps that lie row by row in one table.

    The pixel ``(i, j)`` of a sample's map is the table's row ``first + (i * width + j) * step``.
    Pixels off the map count as 0, and so do samples at a distance of a pixel or more.

    Args:
        table: ``[R,D]`` of any float dtype.
        first: ``[S]`` int32, row of the map's first pixel.
        height, width: size of the maps, int, scalar or ``[S]`` int32.
        step: rows from a pixel to the next.
        y, x: ``[S]`` float32, in pixels; whole numbers are pixel centers.
        weight: ``[S]`` float32, factor of each sample.

    Returns:
        ``[S,D]`` of the table's dtype. Keeps nothing for the backward pass but its arguments.
    """
    y, x, weight = (tf.cast(v, tf.float32) for v in (y, x, weight))

    # A place that is no number has no value: the sample must not pass for one off the map.
    weight = tf.where(tf.math.is_finite(y + x), weight, float("nan"))

    @tf.custom_gradient
    def sample(table: Tensor, y: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        # Pixels off the map have a row of zeros: what lies in any other row, NaN say, must not count.
        off_map = tf.shape(table)[0]
        padded = tf.pad(table, [[0, 1], [0, 0]])
        rows, fractions, inside = _corners(first, height, width, step, y, x, off_map)

        def values(row: Tensor) -> Tensor:
            return tf.cast(tf.gather(padded, row), tf.float32)

        total = 0.0
        for row, share in zip(rows, _shares(*fractions), strict=True):
            total += values(row) * (share * weight)[:, None]

        def backward(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            upstream = tf.cast(upstream, tf.float32)
            gradient = tf.zeros(tf.shape(padded), tf.float32)
            dots = []
            for row, share in zip(rows, _shares(*fractions), strict=True):
                update = upstream * (share * weight)[:, None]
                gradient = tf.tensor_scatter_nd_add(gradient, row[:, None], update)
                dots.append(tf.reduce_sum(upstream * values(row), axis=-1))
            fraction_y, fraction_x = fractions
            top = dots[0] + (dots[1] - dots[0]) * fraction_x
            bottom = dots[2] + (dots[3] - dots[2]) * fraction_x
            right_left = (dots[1] - dots[0]) * (1.0 - fraction_y) + (dots[3] - dots[2]) * fraction_y
            for_weight = top + (bottom - top) * fraction_y
            for_y, for_x = (bottom - top) * weight, right_left * weight
            for_y, for_x = tf.where(inside, for_y, 0.0), tf.where(inside, for_x, 0.0)
            return tf.cast(gradient[:-1], table.dtype), for_y, for_x, for_weight

        return tf.cast(total, table.dtype), backward

    return sample(table, y, x, weight)


def _corners(
    first: Tensor, height: Tensor, width: Tensor, step: int, y: Tensor, x: Tensor, off_map: Tensor
) -> tuple[list[Tensor], tuple[Tensor, Tensor], Tensor]:
    """Rows of the four pixels around each sample, and the fractions past the first one."""
    limit_y, limit_x = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    inside = (y > -1.0) & (x > -1.0) & (y < limit_y) & (x < limit_x)
    y, x = tf.where(inside, y, 0.0), tf.where(inside, x, 0.0)
    low_y, low_x = tf.floor(y), tf.floor(x)
    rows = []
    for down in (0.0, 1.0):
        for right in (0.0, 1.0):
            row, column = low_y + down, low_x + right
            valid = inside & (row >= 0.0) & (row < limit_y) & (column >= 0.0) & (column < limit_x)
            pixel = tf.cast(row, tf.int32) * width + tf.cast(column, tf.int32)
            rows.append(tf.where(valid, first + pixel * step, off_map))
    return rows, (y - low_y, x - low_x), inside


def _shares(fraction_y: Tensor, fraction_x: Tensor) -> Iterator[Tensor]:
    for vertical in (1.0 - fraction_y, fraction_y):
        for horizontal in (1.0 - fraction_x, fraction_x):
            yield vertical * horizontal
