"""Deformable convolution layers, plain (Dai et al., 2017) and modulated (Zhu et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.layers.conv import Conv2D
from kdet.layers.conv_module import register_conv
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Tensor


@register
class DeformConv2D(NoXla, Conv2D):
    """Deformable convolution whose offsets are given (heads that know where to look).

    Args:
        deform_groups: input channels are cut into so many parts with offsets of their own.
        other arguments: as in ``Conv2D``.

    Call: ``x [B,H,W,C], offsets [B,H',W',deform_groups*k*k*2]`` (per kernel cell y, x in pixels of the map),
    optionally ``mask [B,H',W',deform_groups*k*k]`` -> ``[B,H',W',filters]``.
    """

    def __init__(self, filters: int, kernel_size: int, deform_groups: int = 1, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.deform_groups = deform_groups

    def call(self, x: Tensor, offsets: Tensor, mask: Tensor | None = None) -> Tensor:
        x = ops.deform_conv2d(
            x, tf.cast(self.kernel, x.dtype), offsets, mask, strides=self.stride, padding=self.padding,
            dilations=self.dilation, groups=self.groups, deform_groups=self.deform_groups,
        )  # fmt: skip
        return self.add_bias(x)


@register_conv("dcn")
@register
class DeformConvPack(DeformConv2D):
    """Plain deformable convolution that predicts its offsets by a convolution of its own, zero at first.

    Call: ``[B,H,W,C] -> [B,H',W',filters]``.
    """

    numbers_per_sample = 2

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.samples = self.deform_groups * self.kernel_size[0] * self.kernel_size[1]
        self.conv_offset = Conv2D(
            self.samples * self.numbers_per_sample, kernel_size, stride=self.stride, padding=self.padding,
            dilation=self.dilation, kernel_initializer="zeros",
        )  # fmt: skip

    def call(self, x: Tensor) -> Tensor:
        return super().call(x, self.conv_offset(x))


@register_conv("dcn_v2")
@register
class ModulatedDeformConvPack(DeformConvPack):
    """Deformable convolution that predicts a factor for every sample too.

    Call: ``[B,H,W,C] -> [B,H',W',filters]``.
    """

    numbers_per_sample = 3

    def call(self, x: Tensor) -> Tensor:
        offsets, mask = tf.split(self.conv_offset(x), [2 * self.samples, self.samples], -1)
        return DeformConv2D.call(self, x, offsets, tf.sigmoid(mask))
