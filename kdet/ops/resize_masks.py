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


def _neighbors(pixels: int | Tensor, cells: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per cell: the pixel before its center, the one after, and the latter's share."""
    pixels, scale = tf.cast(pixels, tf.int32), tf.cast(pixels, tf.float32) / tf.cast(cells, tf.float32)
    place = tf.maximum((tf.cast(tf.range(cells), tf.float32) + 0.5) * scale - 0.5, 0.0)
    before = tf.minimum(tf.cast(place, tf.int32), pixels - 1)
    return before, tf.minimum(before + 1, pixels - 1), place - tf.cast(before, tf.float32)
