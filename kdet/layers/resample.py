"""Pooling and up-sampling with PyTorch's alignment."""

import tensorflow as tf


def max_pool(x, kernel_size, stride, padding=0):
    """Max pooling of non-negative maps with symmetric zero padding (exact after a ReLU)."""
    if padding:
        x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.nn.max_pool2d(x, kernel_size, stride, "VALID")


def upsample_nearest(x, like):
    """``x`` enlarged to the height and width of ``like``; source pixel ``floor(i * in / out)``."""
    size = tf.shape(like)[1:3]
    y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)
    y.set_shape([x.shape[0], like.shape[1], like.shape[2], x.shape[3]])
    return y
