"""Ground-truth masks resized to a feature map, straight from their bits."""

import tensorflow as tf

from kdet.typing import Pair, Tensor


def resize_masks(packed_masks: Tensor, canvas: Pair, size: Pair | Tensor) -> Tensor:
    """Bilinear values of bit-packed masks at the pixel centers of a smaller map.

    Only the four pixels around each center are unpacked. Corner alignment: half pixel, no antialias.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        canvas: (H, W), the masks' size in pixels.
        size: (h, w) of the result.

    Returns:
        ``[B,G,h,w]`` float32 in [0, 1]. No gradient.
    """
    (top, bottom, down), (left, right, across) = (_neighbors(n, m) for n, m in zip(canvas, size))

    def row(index: Tensor) -> Tensor:
        rows = tf.gather(packed_masks, index, axis=2)

        def pixels(column: Tensor) -> Tensor:
            bits = tf.bitwise.right_shift(
                tf.gather(rows, column // 8, axis=3), tf.cast(7 - column % 8, tf.uint8)
            )
            return tf.cast(bits & 1, tf.float32)

        return pixels(left) * (1.0 - across) + pixels(right) * across

    return row(top) * (1.0 - down[:, None]) + row(bottom) * down[:, None]


def nearest_masks(packed_masks: Tensor, canvas: Pair, size: Pair | Tensor) -> Tensor:
    """Bit-packed masks at every ``floor(i * canvas / size)``-th pixel, as PyTorch's "nearest" has it.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        canvas: (H, W), the masks' size in pixels.
        size: (h, w) of the result.

    Returns:
        ``[B,G,h,w]`` float32 of 0 and 1. No gradient.
    """

    def chosen(pixels: int | Tensor, cells: int | Tensor) -> Tensor:
        step = tf.cast(pixels, tf.float32) / tf.cast(cells, tf.float32)
        index = tf.cast(tf.floor(tf.range(cells, dtype=tf.float32) * step), tf.int32)
        return tf.minimum(index, tf.cast(pixels, tf.int32) - 1)

    rows, columns = (chosen(n, m) for n, m in zip(canvas, tf.unstack(size)))
    found = tf.gather(tf.gather(packed_masks, rows, axis=2), columns // 8, axis=3)
    return tf.cast(tf.bitwise.right_shift(found, tf.cast(7 - columns % 8, tf.uint8)) & 1, tf.float32)


def strided_masks(packed_masks: Tensor, stride: int, size: Tensor) -> Tensor:
    """Bit-packed masks at every ``stride``-th pixel from ``stride // 2`` on, 0 outside of them.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        stride: pixels from one to the next.
        size: (h, w) of the result, int32 ``[2]``.

    Returns:
        ``[B,G,h,w]`` float32 of 0 and 1. No gradient.
    """
    rows, columns = (tf.range(size[axis]) * stride + stride // 2 for axis in (0, 1))
    height, row_bytes = tf.shape(packed_masks)[2], tf.shape(packed_masks)[3]
    found = tf.gather(packed_masks, tf.minimum(rows, height - 1), axis=2)
    found = tf.gather(found, tf.minimum(columns // 8, row_bytes - 1), axis=3)
    bits = tf.bitwise.right_shift(found, tf.cast(7 - columns % 8, tf.uint8)) & 1
    inside = (rows < height)[:, None] & (columns < 8 * row_bytes)
    return tf.where(inside, tf.cast(bits, tf.float32), 0.0)


def pack_bits(masks: Tensor) -> Tensor:
    """bool ``[...,W]`` -> uint8 ``[...,ceil(W/8)]``, most significant bit first, as ``np.packbits`` does."""
    width = tf.shape(masks)[-1]
    padded = tf.pad(masks, [[0, 0]] * (masks.shape.rank - 1) + [[0, -width % 8]])
    bits = tf.reshape(padded, tf.concat([tf.shape(masks)[:-1], [(width + 7) // 8, 8]], 0))
    weights = tf.constant([128, 64, 32, 16, 8, 4, 2, 1], tf.int32)
    return tf.cast(tf.reduce_sum(tf.where(bits, weights, 0), -1), tf.uint8)


def _neighbors(pixels: int | Tensor, cells: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per cell: the pixel before its center, the one after, and the latter's share."""
    pixels, scale = tf.cast(pixels, tf.int32), tf.cast(pixels, tf.float32) / tf.cast(cells, tf.float32)
    place = tf.maximum((tf.cast(tf.range(cells), tf.float32) + 0.5) * scale - 0.5, 0.0)
    before = tf.minimum(tf.cast(place, tf.int32), pixels - 1)
    return before, tf.minimum(before + 1, pixels - 1), place - tf.cast(before, tf.float32)
