"""The loops of RoI pooling: forward by groups of RoIs, backward by chunks of taps."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.ops.ranking import inverse_permutation
from kdet.ops.roi_taps import AxisTaps
from kdet.typing import Tensor

# Rows of a group times channels: the accumulator of a group stays in the second-level cache.
_GROUP_ELEMENTS = 1 << 19
# Floats that the backward pass scatters at once. TensorFlow copies the whole gradient per scatter,
# so there should be few.
_SCATTER_ELEMENTS = 1 << 24
_LONGEST_CHUNK = 1 << 16


def pool_groups(table: Tensor, axes: Sequence[AxisTaps], first_row: Tensor) -> Tensor:
    """The forward pass: one group of RoIs after the other, one tap of all their bins at a time.

    Args:
        table: ``[P,C]``, pixels of all maps.
        axes: `AxisTaps` of y and of x, over RoIs ``[M]``.
        first_row: ``[M]`` int32, row of the first pixel of each RoI's map.

    Returns:
        ``[M,ph,pw,C]`` of the table's dtype.
    """
    groups = _Groups(axes, first_row, table.shape[-1])

    def pool_group(index: Tensor) -> Tensor:
        length, tap = groups.taps(index)

        def add(k: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            row, (weight_y,), (weight_x,) = tap(k)
            values = tf.cast(tf.gather(table, row), tf.float32)
            return k + 1, total + values * tf.reshape(weight_y * weight_x, [-1, 1])

        start = tf.zeros([groups.rows, table.shape[-1]], tf.float32)
        return tf.cast(tf.while_loop(lambda k, _: k < length, add, (0, start))[1], table.dtype)

    spec = tf.TensorSpec([groups.known_rows, table.shape[-1]], table.dtype)
    pooled = tf.map_fn(pool_group, tf.range(groups.count), fn_output_signature=spec)
    return groups.merge(tf.reshape(pooled, [-1, *groups.bins, table.shape[-1]]))


def slopes_of_groups(
    table: Tensor, upstream: Tensor, axes: Sequence[AxisTaps], first_row: Tensor
) -> tuple[Tensor, Tensor]:
    """What ``sum(upstream * pooled)`` gains when a RoI of one bin moves by a pixel.

    Args:
        upstream: ``[M,1,1,C]``; the others as in `pool_groups`, with one bin per axis.

    Returns:
        Derivatives by y and by x, ``[M]`` float32 each.
    """
    groups = _Groups(axes, first_row, table.shape[-1])
    upstream = groups.split(tf.reshape(upstream, [-1, table.shape[-1]]))

    def slope_group(index: Tensor) -> tuple[Tensor, Tensor]:
        length, tap = groups.taps(index, slope=True)
        wanted = tf.cast(upstream[index], tf.float32)

        def add(k: Tensor, by_y: Tensor, by_x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            row, (weight_y, slope_y), (weight_x, slope_x) = tap(k)
            gain = tf.reduce_sum(tf.cast(tf.gather(table, row), tf.float32) * wanted, axis=-1)
            by_y += gain * tf.reshape(slope_y * weight_x, [-1])
            return k + 1, by_y, by_x + gain * tf.reshape(weight_y * slope_x, [-1])

        start = tf.zeros([groups.rows], tf.float32)
        return tf.while_loop(lambda k, *_: k < length, add, (0, start, start))[1:]

    spec = tf.TensorSpec([groups.known_rows], tf.float32)
    slopes = tf.map_fn(slope_group, tf.range(groups.count), fn_output_signature=(spec, spec))
    return tuple(groups.merge(tf.reshape(values, [-1])) for values in slopes)


class _Groups:
    """RoIs in groups of one size, static where their number is; those of alike tap counts together.

    A group costs what its largest RoI costs. Rows that fill up the last group are all zeros.
    """

    def __init__(self, axes: Sequence[AxisTaps], first_row: Tensor, channels: int) -> None:
        self.bins = [axis.bins for axis in axes]
        self.order = tf.argsort(axes[0].taps * 65536 + axes[1].taps, stable=True)
        largest = max(1, _GROUP_ELEMENTS // (self.bins[0] * self.bins[1] * channels))
        total = self.order.shape[0]
        if total is None:
            total = tf.size(self.order)
            self.size = tf.clip_by_value(total, 1, largest)
        else:
            self.size = min(max(total, 1), largest)
        self.rows = self.size * self.bins[0] * self.bins[1]
        self.known_rows = self.rows if isinstance(self.rows, int) else None
        self.count = (total + self.size - 1) // self.size
        if self.known_rows is None:  # TensorFlow cannot stack no groups of a size that it does not know
            self.count = tf.maximum(self.count, 1)
        self.axes = [axis.map(self.split) for axis in axes]
        self.first_row = self.split(first_row)

    def split(self, values: Tensor) -> Tensor:
        """``[M,...] -> [groups,size,...]``"""
        padding = [[0, self.count * self.size - tf.size(self.order)]] + [[0, 0]] * (values.shape.rank - 1)
        values = tf.pad(tf.gather(values, self.order), padding)
        return tf.reshape(values, tf.concat([[self.count, self.size], tf.shape(values)[1:]], 0))

    def merge(self, values: Tensor) -> Tensor:
        """``[groups*size,...] -> [M,...]``"""
        return tf.gather(values, inverse_permutation(self.order))

    def taps(self, index: Tensor, slope: bool = False) -> tuple[Tensor, Callable[..., Any]]:
        """How many taps a group has, and ``k -> (rows of the table [rows], weights_y, weights_x)``.

        The weights are tuples (weight, and with ``slope`` its derivative) that broadcast to
        ``[size,ph,pw]``.
        """
        y, x = (axis.map(lambda values: values[index][:, None]) for axis in self.axes)  # [size,1]
        origin = self.first_row[index][:, None, None]
        across = tf.reduce_max(x.taps)

        def tap(k: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            row, *weights_y = y.tap(tf.range(self.bins[0])[None, :], k // across, slope)  # [size,ph]
            column, *weights_x = x.tap(tf.range(self.bins[1])[None, :], k % across, slope)  # [size,pw]
            pixels = origin + row[:, :, None] * x.size[:, :, None] + column[:, None, :]
            weights_y, weights_x = [w[:, :, None] for w in weights_y], [w[:, None, :] for w in weights_x]
            return tf.reshape(pixels, [self.rows]), weights_y, weights_x

        return tf.reduce_max(y.taps) * across, tap


def scatter_back(table: Tensor, upstream: Tensor, axes: Sequence[AxisTaps], first_row: Tensor) -> Tensor:
    """The backward pass: the list of all (bin, tap) pairs, in chunks of static length.

    Args:
        upstream: ``[M,ph,pw,C]``; the others as in `pool_groups`.

    Returns:
        The gradient of the table, ``[P,C]``.
    """
    bins, channels = [axis.bins for axis in axes], table.shape[-1]
    chunk = min(max(256, _SCATTER_ELEMENTS // channels), _LONGEST_CHUNK)
    upstream = tf.reshape(upstream, [-1, channels])
    pairs_per_axis = [tf.cast(axis.taps, tf.int64) * axis.bins for axis in axes]
    ends = tf.cumsum(pairs_per_axis[0] * pairs_per_axis[1])
    length = tf.reduce_max(tf.concat([[tf.constant(0, tf.int64)], ends], 0))

    def scatter(start: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        pair = start + tf.range(chunk, dtype=tf.int64)
        roi = tf.minimum(tf.searchsorted(ends, pair, side="right"), tf.size(ends) - 1)
        y, x = (axis.map(lambda values: tf.gather(values, roi)) for axis in axes)  # [chunk]
        origin = tf.gather(first_row, roi)
        within = pair - tf.gather(ends, roi) + tf.gather(pairs_per_axis[0] * pairs_per_axis[1], roi)
        across = tf.maximum(tf.gather(pairs_per_axis[1], roi), 1)
        down, across = tf.cast(within // across, tf.int32), tf.cast(within % across, tf.int32)
        bin_y, bin_x = down // tf.maximum(y.taps, 1), across // tf.maximum(x.taps, 1)
        row, weight_y = y.tap(bin_y, down % tf.maximum(y.taps, 1))
        column, weight_x = x.tap(bin_x, across % tf.maximum(x.taps, 1))
        real = pair < length
        weight = tf.where(real, weight_y * weight_x, 0.0)
        pixel = tf.where(real, origin + row * x.size + column, 0)
        source = tf.where(real, (roi * bins[0] + bin_y) * bins[1] + bin_x, 0)
        values = tf.cast(tf.gather(upstream, source), tf.float32) * weight[:, None]
        return start + chunk, tf.tensor_scatter_nd_add(gradient, pixel[:, None], values)

    start = (tf.constant(0, tf.int64), tf.zeros(tf.shape(table), tf.float32))
    gradient = tf.while_loop(lambda k, _: k < length, scatter, start)[1]
    return tf.cast(gradient, table.dtype)
