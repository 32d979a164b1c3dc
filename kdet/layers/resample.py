"""Pooling and up-sampling with PyTorch's alignment."""

import tensorflow as tf

from kdet.typing import Pair, Tensor


def max_pool(x: Tensor, kernel_size: int, stride: int, padding: int = 0) -> Tensor:
    """Max pooling of non-negative maps with symmetric zero padding (exact after a ReLU)."""
    if padding:
        x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.nn.max_pool2d(x, kernel_size, stride, "VALID")


def upsample_nearest(x: Tensor, like: Tensor) -> Tensor:
    """``x`` enlarged to the height and width of ``like``; source pixel ``floor(i * in / out)``."""
    size = tf.shape(like)[1:3]
    y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)
    y.set_shape([x.shape[0], like.shape[1], like.shape[2], x.shape[3]])
    return y


def resize_bilinear(x: Tensor, size: Pair | Tensor) -> Tensor:
    """``x`` bilinearly resized to ``size`` (h, w); pixel centers at half, no antialias."""
    y = tf.raw_ops.ResizeBilinear(images=x, size=size, half_pixel_centers=True)
    return tf.cast(y, x.dtype)


def resize_corners(x: Tensor, size: Pair | Tensor) -> Tensor:
    """``x`` bilinearly resized to ``size`` (h, w), ints or a tensor; corner pixels keep their place."""
    y = tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True)
    if isinstance(size, (tuple, list)):
        y.set_shape([x.shape[0], *size, x.shape[3]])
    return tf.cast(y, x.dtype)


def adaptive_max_pool(x: Tensor, like: Tensor) -> Tensor:
    """``x`` reduced to the height and width of ``like``: maxima of windows that may overlap by a pixel.

    Output ``i`` of ``n`` looks at the pixels from ``floor(i * in / n)`` to ``ceil((i + 1) * in / n)``.
    """
    x = _window_max(x, tf.shape(like)[1], 1)
    x = _window_max(x, tf.shape(like)[2], 2)
    x.set_shape([x.shape[0], like.shape[1], like.shape[2], x.shape[3]])
    return x


def _window_max(x: Tensor, size: Tensor, axis: int) -> Tensor:
    length, cells = tf.shape(x)[axis], tf.range(size)
    start = cells * length // size
    last = ((cells + 1) * length + size - 1) // size - 1
    window = tf.minimum(start[:, None] + tf.range(tf.reduce_max(last - start) + 1), last[:, None])
    return tf.reduce_max(tf.gather(x, window, axis=axis), axis + 1)
