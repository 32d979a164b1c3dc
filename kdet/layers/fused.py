"""Convolution and batch norm as one convolution wherever the statistics are fixed."""

import tensorflow as tf

from kdet.layers import context
from kdet.layers.conv import Conv2D
from kdet.layers.norm import BatchNorm


def conv_norm(conv, norm, x, relu=False):
    """``norm(conv(x))`` (``norm`` may be None), with a ReLU after it if wanted.

    A plain convolution before a batch norm that uses its running statistics (inference, ``norm_eval``,
    frozen layers) runs with the norm folded into its kernel: one pass over the map less, in both
    directions, and the gradients of kernel, gamma and beta stay what they were.
    """
    if type(conv) is Conv2D and conv.built:
        x = tf.cast(x, conv.compute_dtype)
        if norm is None and context.in_inference():
            return conv.apply(x, conv.kernel, conv.bias, relu)
        if isinstance(norm, BatchNorm) and norm.built and norm.statistics_are_fixed:
            # not before it is its turn: or all kernels of a network are folded, and kept, at its start
            with tf.control_dependencies([x]):
                scale, shift = norm.scale_and_shift()
                if conv.bias is not None:
                    shift += scale * conv.bias
                kernel = conv.kernel * scale
            return conv.apply(x, kernel, shift, relu)
    y = conv(x)
    y = y if norm is None else norm(y)
    return tf.nn.relu(y) if relu else y


def sequence(layers, x):
    """``x`` through layers in a row (None is skipped), convolutions and their norms as one."""
    layers = [layer for layer in layers or () if layer is not None]
    while layers:
        if len(layers) > 1 and isinstance(layers[1], BatchNorm):
            x, layers = conv_norm(layers[0], layers[1], x), layers[2:]
        else:
            x, layers = layers[0](x), layers[1:]
    return x
