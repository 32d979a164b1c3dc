"""Convolution and batch norm as one convolution wherever the statistics are fixed."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kdet.layers import context
from kdet.layers.conv import Conv2D
from kdet.layers.norm import BatchNorm
from kdet.layers.same_conv import SameConv2D
from kdet.typing import Tensor

_FOLDED = (Conv2D, SameConv2D)  # no others: subclasses rework the kernel


def conv_norm(
    conv: keras.layers.Layer, norm: keras.layers.Layer | None | None, x: Tensor, relu: bool = False
) -> Tensor:
    """``norm(conv(x))`` (``norm`` may be None), with a ReLU after it if wanted.

    A plain convolution before a batch norm that uses its running statistics (inference, ``norm_eval``,
    frozen layers) runs with the norm folded into its kernel: one pass over the map less, in both
    directions, and the gradients of kernel, gamma and beta stay what they were.
    """
    if type(conv) in _FOLDED and conv.built:
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


def sequence(layers: Sequence[keras.layers.Layer | None] | None, x: Tensor) -> Tensor:
    """``x`` through layers in a row (None is skipped), convolutions and their norms as one."""
    rest = [layer for layer in layers or () if layer is not None]
    while rest:
        if len(rest) > 1 and isinstance(rest[1], BatchNorm):
            x, rest = conv_norm(rest[0], rest[1], x), rest[2:]
        else:
            x, rest = rest[0](x), rest[1:]
    return x
