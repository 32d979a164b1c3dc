"""Convolution and batch norm as one convolution wherever the statistics are fixed."""

import tensorflow as tf

from kdet.layers.conv import Conv2D
from kdet.layers.norm import BatchNorm


def conv_norm(conv, norm, x):
    """``norm(conv(x))``.

    A plain convolution before a batch norm that uses its running statistics (inference, ``norm_eval``,
    frozen layers) runs with the norm folded into its kernel: one pass over the map less, in both
    directions, and the gradients of kernel, gamma and beta stay what they were.
    """
    if type(conv) is not Conv2D or not isinstance(norm, BatchNorm):
        return norm(conv(x))
    if not (conv.built and norm.built and norm.statistics_are_fixed):
        return norm(conv(x))
    scale, shift = norm.scale_and_shift()
    if conv.bias is not None:
        shift += scale * conv.bias
    x = tf.cast(x, conv.compute_dtype)
    y = conv.convolve(x, conv.kernel * scale)
    return tf.nn.bias_add(y, tf.cast(shift, x.dtype))


def sequence(layers, x):
    """``x`` through layers in a row (None is skipped), convolutions and their norms as one."""
    layers = [layer for layer in layers or () if layer is not None]
    while layers:
        if len(layers) > 1 and isinstance(layers[1], BatchNorm):
            x, layers = conv_norm(layers[0], layers[1], x), layers[2:]
        else:
            x, layers = layers[0](x), layers[1:]
    return x
