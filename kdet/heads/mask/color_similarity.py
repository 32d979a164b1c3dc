"""Which neighboring pixels look alike (BoxInst, Tian et al., 2021, arXiv:2012.02310)."""

import tensorflow as tf

from kdet.typing import Tensor

_XYZ = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
_WHITE = [0.95047, 1.0, 1.08883]  # D65, seen at two degrees


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """RGB 0..255 as CIE Lab, ``[...,3]`` float32 each."""
    rgb = rgb / 255.0
    linear = tf.where(rgb > 0.04045, tf.pow((tf.maximum(rgb, 0.0) + 0.055) / 1.055, 2.4), rgb / 12.92)
    xyz = tf.tensordot(linear, tf.transpose(tf.constant(_XYZ, rgb.dtype)), 1) / _WHITE
    curved = tf.where(xyz > 0.008856, tf.pow(tf.maximum(xyz, 1e-6), 1.0 / 3.0), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = tf.unstack(curved, axis=-1)
    return tf.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], -1)


def neighbors(x: Tensor, dilation: int) -> list[Tensor]:
    """The eight neighbors of every cell of maps ``[...,h,w]``, so many cells away; 0 beyond the border."""
    height, width = tf.shape(x)[-2], tf.shape(x)[-1]
    padded = tf.pad(x, [[0, 0]] * (x.shape.rank - 2) + [[dilation, dilation]] * 2)
    offsets = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    starts = [(y * dilation, x * dilation) for y, x in offsets]
    return [padded[..., y : y + height, x : x + width] for y, x in starts]


def similar_neighbors(
    images: Tensor, valid_size: Tensor, stride: int, dilation: int, threshold: float, bottom: int
) -> Tensor:
    """Whether cells look like their neighbors: 0 and 1, ``[B,8,h,w]``.

    Args:
        images: RGB 0..255, ``[B,H,W,3]``.
        valid_size: ``[B,2]`` (h, w) of the images within; no neighbor beyond counts.
        stride: pixels of a cell.
        dilation: cells between neighbors.
        threshold: least similarity, of 1.
        bottom: lines of a full image at its lower border that do not count.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    cells = tf.floor(tf.nn.avg_pool2d(tf.cast(images, tf.float32), stride, stride, "VALID"))
    lab = tf.transpose(rgb_to_lab(cells), [0, 3, 1, 2])  # [B, 3, h, w]
    removed = tf.floor(bottom * valid_size[:, 0] / tf.cast(height, tf.float32))
    middles = [tf.cast(tf.range(stride // 2, side, stride), tf.float32) for side in (height, width)]
    rows = middles[0] < (valid_size[:, 0] - removed)[:, None]
    columns = middles[1] < valid_size[:, 1:]
    inside = tf.cast(rows[:, :, None] & columns[:, None], tf.float32)[
        :, : tf.shape(lab)[2], : tf.shape(lab)[3]
    ]
    found = []
    for other, counts in zip(neighbors(lab, dilation), neighbors(inside, dilation), strict=True):
        similarity = tf.exp(-0.5 * tf.norm(lab - other, axis=1))  # [B, h, w]
        found.append(tf.cast(similarity * counts >= threshold, tf.float32))
    return tf.stop_gradient(tf.stack(found, 1))
