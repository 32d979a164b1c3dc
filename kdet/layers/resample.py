"""Pooling and up-sampling with PyTorch's alignment."""

import tensorflow as tf

from kdet import ops
from kdet.typing import Pair, Tensor


def max_pool(x: Tensor, kernel_size: int, stride: int, padding: int = 0) -> Tensor:
    """Max pooling of non-negative maps with symmetric zero padding (exact after a ReLU)."""
    if padding:
        x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.nn.max_pool2d(x, kernel_size, stride, "VALID")


def padded_average(x: Tensor, stride: int) -> Tensor:
    """Average of 3x3 windows, zeros of the border included."""
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.avg_pool2d(x, 3, stride, "VALID")


def upsample_nearest(x: Tensor, like: Tensor) -> Tensor:
    """``x`` enlarged to the height and width of ``like``; source pixel ``floor(i * in / out)``."""
    if ops.under_xla():  # which has no gradient of TensorFlow's op
        return _repeated(_repeated(x, like, 1), like, 2)
    size = tf.shape(like)[1:3]
    y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)
    y.set_shape([x.shape[0], like.shape[1], like.shape[2], x.shape[3]])
    return y


def _repeated(x: Tensor, like: Tensor, axis: int) -> Tensor:
    """`upsample_nearest` along one axis."""
    have, want = x.shape[axis], like.shape[axis]
    if have and want and want % have == 0:
        shape = tf.unstack(tf.shape(x))
        wide = tf.repeat(tf.expand_dims(x, axis + 1), want // have, axis + 1)
        return tf.reshape(wide, [*shape[:axis], want, *shape[axis + 1 :]])
    have, want = tf.shape(x)[axis], tf.shape(like)[axis]
    places = tf.range(want, dtype=tf.float32) * (tf.cast(have, tf.float32) / tf.cast(want, tf.float32))
    return tf.gather(x, tf.minimum(tf.cast(places, tf.int32), have - 1), axis=axis)


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


def enlarge_aligned(x: Tensor, factor: int) -> Tensor:
    """``x [B,h,w,C]`` bilinearly enlarged to ``[B,factor*h,factor*w,C]``, as CondInst does it.

    Pixel ``i`` of the input lies at pixel ``factor * i + factor // 2``; the border is repeated.
    """
    if factor == 1:
        return x
    height, width = (tf.shape(x)[axis] for axis in (1, 2))
    for axis, side in ((1, height), (2, width)):  # the last line once more
        x = tf.gather(x, tf.minimum(tf.range(side + 1), side - 1), axis=axis)
    x = resize_corners(x, tf.stack([factor * height + 1, factor * width + 1]))
    for axis, side in ((1, height), (2, width)):
        x = tf.gather(x, tf.maximum(tf.range(factor * side) - factor // 2, 0), axis=axis)
    return x


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
