"""Maps of patches cut into a number of windows, and their tables of positions."""

from typing import Any

import tensorflow as tf

from kdet.layers.shapes import sizes_of
from kdet.typing import Tensor


def cut_windows(x: Tensor, count: int) -> Tensor:
    """A map ``[B,h,w,C]`` as ``count x count`` windows: ``[B*count**2,h*w/count**2,C]``, row by row.

    Both sides are multiples of ``count``. Unlike ``windows_of``, which takes the size of the windows, their
    number is fixed here.
    """
    _, height, width, channels = sizes_of(x)
    # the patches of a row of a window stay together, so that five axes are enough
    x = tf.reshape(x, [-1, count, height // count, count, width // count * channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [-1, (height // count) * (width // count), channels])


def join_windows(x: Tensor, count: int, height: Any, width: Any) -> Tensor:
    """The inverse of ``cut_windows``: ``[B,height,width,C]``."""
    channels = x.shape[-1]
    x = tf.reshape(x, [-1, count, count, height // count, width // count * channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [-1, height, width, channels])


def resized_table(table: Tensor, side: int, rows: Any, columns: Any, antialias: bool) -> Tensor:
    """A learned table of positions for another number of patches, by bicubic interpolation.

    Args:
        table: ``[side*side,C]``.
        side: rows and columns of the table.
        rows, columns: those wanted, ints or scalars.
        antialias: a smaller table is a mean of more than the nearest 16 entries.

    Returns:
        ``[rows,columns,C]``; the table itself where it has that size already.
    """
    channels = table.shape[-1]
    down = tf.cast(cubic_weights(side, rows, antialias), table.dtype)
    across = tf.cast(cubic_weights(side, columns, antialias), table.dtype)
    x = tf.reshape(tf.matmul(down, tf.reshape(table, [side, side * channels])), [rows, side, channels])
    return tf.matmul(across, x)


def cubic_weights(source: int, target: Any, antialias: bool) -> Tensor:
    """What each of ``source`` entries counts in each of ``target`` entries: float32 ``[target,source]``.

    The kernel's parameter is -0.75 as in OpenCV, with ``antialias`` -0.5 as in PIL; beyond the border the
    last entry is repeated, with ``antialias`` left out.
    """
    ratio = source / tf.cast(target, tf.float32)
    places = (tf.cast(tf.range(target), tf.float32) + 0.5) * ratio - 0.5  # [target]
    if antialias:
        distance = tf.range(source, dtype=tf.float32) - places[:, None]
        weights = _cubic(distance / tf.maximum(ratio, 1.0), -0.5)
        return weights / tf.reduce_sum(weights, 1, keepdims=True)
    first, weights = tf.floor(places), tf.zeros([], tf.float32)
    for step in (-1.0, 0.0, 1.0, 2.0):
        entry = tf.cast(tf.clip_by_value(first + step, 0.0, source - 1.0), tf.int32)
        weights += tf.one_hot(entry, source) * _cubic(places - first - step, -0.75)[:, None]
    return weights


def _cubic(x: Tensor, a: float) -> Tensor:
    x = tf.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = a * (((x - 5.0) * x + 8.0) * x - 4.0)
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))
