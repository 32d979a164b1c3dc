"""Convolutions that look with several dilations (RF-Next, Gao et al., 2022, https://arxiv.org/abs/2206.06637)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.layers.base import Layer
from kdet.layers.conv import Conv2D
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Pair, Shape, Tensor


@register
class SpreadConv2D(NoXla, Layer):
    """One convolution with several dilations at once, mixed by learned weights.

    The kernel is the same in all; their results are summed by the share that the absolute value of each
    weight has in the sum of all.

    Args:
        op_layer: the convolution, not yet built, whose dilation does not count.
        dilations: (y, x) of every branch.

    Call: as that of ``op_layer``.
    """

    def __init__(self, op_layer: Conv2D, dilations: Sequence[Pair], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.op_layer, self.dilations = op_layer, [(y, x) for y, x in dilations]

    def build(self, input_shape: Shape) -> None:
        self.op_layer.build(input_shape)
        self.branch_weights = self.add_weight(
            name="branch_weights", shape=(len(self.dilations),), initializer=keras.initializers.Constant(0.01)
        )

    def call(self, x: Tensor) -> Tensor:
        conv = self.op_layer
        weights = tf.abs(tf.convert_to_tensor(self.branch_weights))
        shares = tf.unstack(tf.cast(weights / tf.reduce_sum(weights), x.dtype))
        kernel = tf.cast(conv.effective_kernel(), x.dtype)
        branches = [
            share * ops.grouped_conv2d(
                x, kernel, conv.stride, conv.padding_for(dilation), dilation, conv.groups
            )
            for share, dilation in zip(shares, self.dilations)
        ]  # fmt: skip
        return conv.add_bias(tf.add_n(branches))
