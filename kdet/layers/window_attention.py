"""Attention within windows of a map (Liu et al., 2021, https://arxiv.org/abs/2103.14030)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.layers.base import Layer
from kdet.layers.composite import Composite
from kdet.layers.initializers import truncated_normal
from kdet.layers.linear import Linear
from kdet.layers.shapes import sizes_of
from kdet.typing import Array, Tensor

_APART = -100.0  # added to the logits of pixels that are neighbors only since the map was rolled


def relative_positions(window: int) -> Array:
    """Which row of the table of biases belongs to each pair of a window's pixels.

    Args:
        window: side of the window.

    Returns:
        int32 ``[window**2, window**2]``, below ``(2 * window - 1)**2``: by row and column of the first
        pixel less those of the second.
    """
    places = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij"), -1).reshape(-1, 2)
    apart = places[:, None] - places[None, :] + window - 1  # [T, T, 2]
    return np.int32(apart[..., 0] * (2 * window - 1) + apart[..., 1])


class WindowAttention(Layer):
    """Attention between all pixels of a window, with a learned bias per relative position.

    Args:
        units: channels of input and result.
        num_heads: heads, a divisor of ``units``.
        window: side of the windows.

    Call: windows ``[N,T,units]``, ``T = window**2``, in groups of ``G`` (those of an image), and what is
    added to the logits, ``[G,T,T]`` or None -> ``[N,T,units]``.
    """

    def __init__(self, units: int, num_heads: int, window: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.num_heads, self.window = units, num_heads, window
        self.qkv = Linear(3 * units, kernel_initializer=truncated_normal())
        self.proj = Linear(units, kernel_initializer=truncated_normal())

    def build(self, *input_shapes: Any) -> None:
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window - 1) ** 2, self.num_heads),
            initializer=truncated_normal(),
        )

    def call(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        count, pixels, _ = sizes_of(x)
        depth = self.units // self.num_heads
        x = tf.reshape(self.qkv(x), [count, pixels, 3, self.num_heads, depth])
        query, key, value = tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]))  # [N, heads, T, depth]
        logits = tf.matmul(query * (1.0 / math.sqrt(depth)), key, transpose_b=True) + self.bias()
        if added is not None:
            windows = sizes_of(added)[0]
            logits = tf.reshape(logits, [-1, windows, self.num_heads, pixels, pixels])
            logits += tf.cast(added, logits.dtype)[:, None]
            logits = tf.reshape(logits, [count, self.num_heads, pixels, pixels])
        attended = tf.transpose(tf.matmul(tf.nn.softmax(logits), value), [0, 2, 1, 3])
        return self.proj(tf.reshape(attended, [count, pixels, self.units]))

    def bias(self) -> Tensor:
        """What is added to the logits of each pair of pixels: ``[heads,T,T]``."""
        rows = relative_positions(self.window)
        table = tf.convert_to_tensor(self.relative_position_bias_table)
        return tf.transpose(tf.gather(table, rows), [2, 0, 1])


class ShiftedWindowAttention(Composite):
    """Attention within windows of a map that may lie half a window further down and to the right.

    The map is padded with zeros, right and below, to whole windows, and the zeros take part. Shifted windows
    that reach over the border hold pixels of opposite sides, which are kept apart.

    Args:
        units, num_heads, window: see ``WindowAttention``.
        shift: pixels by which the windows are shifted.

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, num_heads: int, window: int, shift: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window, self.shift = window, shift
        self.w_msa = WindowAttention(units, num_heads, window)

    def call(self, x: Tensor) -> Tensor:
        _, height, width, _ = sizes_of(x)
        x = tf.pad(x, [[0, 0], [0, -height % self.window], [0, -width % self.window], [0, 0]])
        _, padded_height, padded_width, _ = sizes_of(x)
        added = None
        if self.shift:
            x = tf.roll(x, [-self.shift, -self.shift], [1, 2])
            regions = [self.regions(size) for size in (padded_height, padded_width)]
            added = self.apart(3 * regions[0][:, None] + regions[1])
        x = self.w_msa(windows_of(x, self.window), added)
        x = map_of(x, self.window, padded_height, padded_width)
        if self.shift:
            x = tf.roll(x, [self.shift, self.shift], [1, 2])
        return x[:, :height, :width]

    def regions(self, size: int | Tensor) -> Tensor:
        """Which rows (columns) of the rolled map were neighbors before: int32 ``[size]``, 0 to 2."""
        place = tf.range(size)
        return tf.cast(place >= size - self.window, tf.int32) + tf.cast(place >= size - self.shift, tf.int32)

    def apart(self, regions: Tensor) -> Tensor:
        """What is added to the logits of the pixels of each window: float32 ``[windows,T,T]``.

        Args:
            regions: int32 ``[h,w]``.
        """
        own = windows_of(regions[None, :, :, None], self.window)  # [windows, T, 1]
        return tf.where(own == tf.transpose(own, [0, 2, 1]), 0.0, _APART)


def windows_of(x: Tensor, window: int) -> Tensor:
    """Map ``[B,h,w,C]`` of whole windows -> ``[B*windows,window**2,C]``, row by row."""
    _, height, width, channels = sizes_of(x)
    # the pixels of a row of a window stay together, so that five axes are enough
    x = tf.reshape(x, [-1, height // window, window, width // window, window * channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [-1, window * window, channels])


def map_of(x: Tensor, window: int, height: int | Tensor, width: int | Tensor) -> Tensor:
    """The inverse of ``windows_of``: ``[B,height,width,C]``."""
    channels = x.shape[-1]
    x = tf.reshape(x, [-1, height // window, width // window, window, window * channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [-1, height, width, channels])
