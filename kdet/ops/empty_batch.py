"""Convolution of no pictures, to which TensorFlow (with oneDNN, on the CPU) gives the input's shape."""

import tensorflow as tf


def is_empty(x):
    """Whether ``x`` is known to hold no picture."""
    return x.shape[0] == 0


def convolve_nothing(x, kernel, strides, padding, dilations):
    """What a convolution gives an empty batch.

    Args:
        x: ``[0,H,W,in]``.
        kernel: ``[kh,kw,in/groups,out]``.
        strides, padding, dilations: ``(y, x)``.

    Returns:
        ``[0,H',W',out]``, whose gradients are zeros.
    """
    extents = (
        tf.shape(x)[1:3] + 2 * tf.constant(padding) - tf.constant(dilations) * (tf.shape(kernel)[:2] - 1)
    )
    sizes = (extents - 1) // tf.constant(strides) + 1
    nothing = tf.zeros(tf.concat([[0], sizes, [kernel.shape[3]]], 0), x.dtype)
    return nothing * (tf.reduce_sum(x) + tf.reduce_sum(kernel))
