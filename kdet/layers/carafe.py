"""Content-aware up-sampling (Wang et al., 2019, arXiv:1905.02188)."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Tensor


@register
class CarafeUpsample(NoXla, Composite):
    """Every output pixel is a weighted mean of a neighborhood, with weights predicted from the content.

    Args:
        scale: whole factor.
        kernel_size: side of the neighborhood.
        groups: parts of the channels with weights of their own.
        encoder_kernel: side of the predicting convolution.
        compressed_filters: channels that the weights are predicted from.

    Call: ``[B,h,w,C] -> [B,scale*h,scale*w,C]``.
    """

    def __init__(
        self,
        scale: int = 2,
        kernel_size: int = 5,
        groups: int = 1,
        encoder_kernel: int = 3,
        compressed_filters: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale, self.kernel_size, self.groups = scale, kernel_size, groups
        self.channel_compressor = Conv2D(compressed_filters, 1, kernel_initializer="glorot_uniform")
        self.content_encoder = Conv2D(
            groups * kernel_size**2 * scale**2, encoder_kernel, padding=encoder_kernel // 2,
            kernel_initializer="glorot_uniform",
        )  # fmt: skip

    def call(self, x: Tensor) -> Tensor:
        weights = self.content_encoder(self.channel_compressor(x))
        shape, scale, cells = tf.shape(weights), self.scale, self.kernel_size**2
        # the checkpoint's channels are in the order (group, cell, row and column inside the output pixel)
        weights = tf.reshape(weights, [shape[0], shape[1], shape[2], self.groups * cells, scale, scale])
        weights = tf.transpose(weights, [0, 1, 4, 2, 5, 3])
        size = [shape[0], shape[1] * scale, shape[2] * scale]
        weights = tf.nn.softmax(tf.reshape(weights, [*size, self.groups, cells]))
        weights = tf.reshape(weights, [*size, self.groups * cells])
        return ops.carafe(x, weights, kernel_size=self.kernel_size, groups=self.groups, scale=scale)
