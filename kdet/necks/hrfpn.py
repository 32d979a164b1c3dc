"""Pyramid on a high-resolution network (Sun et al., 2019, arXiv:1904.04514)."""

from typing import Any

import tensorflow as tf

from kdet.layers import Composite, ConvModule
from kdet.registry import register
from kdet.typing import Maps


@register
class HRFPN(Composite):
    """All maps at the finest size, mixed by one convolution, then averaged down level by level.

    Args:
        out_channels: channels of every output.
        num_outs: number of outputs.
        stride: of the convolution on every level.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(self, out_channels: int = 256, num_outs: int = 5, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        def module(kernel_size: int, **kwargs: Any) -> ConvModule:
            return ConvModule(
                out_channels, kernel_size, activation=None, kernel_initializer="lecun_uniform", **kwargs
            )

        self.reduction_conv = module(1)
        self.fpn_convs = [module(3, padding=1, stride=stride) for _ in range(num_outs)]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        size = tf.shape(inputs[0])[1:3]
        same = [inputs[0], *(tf.cast(tf.image.resize(x, size), x.dtype) for x in inputs[1:])]
        x = self.reduction_conv(tf.concat(same, -1))
        return tuple(
            conv(tf.nn.avg_pool2d(x, 2**i, 2**i, "VALID") if i else x)
            for i, conv in enumerate(self.fpn_convs)
        )
