"""Dynamic head (Dai et al., 2021, https://arxiv.org/abs/2106.08322)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import (
    Composite,
    Conv2D,
    DeformConv2D,
    DynamicReLU,
    GroupNorm,
    hard_sigmoid,
    resize_corners,
    sizes_of,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor

_CELLS = 9  # of a 3x3 kernel


def small_kernels() -> keras.initializers.Initializer:
    """Where the kernels of a block start."""
    return keras.initializers.RandomNormal(stddev=0.01)


class SpatialConv(Composite):
    """Modulated deformable 3x3 convolution with a group norm.

    Call: ``x [B,H,W,C], offsets [B,h,w,18], mask [B,h,w,9] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = DeformConv2D(filters, 3, stride=stride, padding=1, use_bias=False)
        self.norm = GroupNorm(16)

    def call(self, x: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
        return self.norm(self.conv(x, offsets, mask))


class DyHeadBlock(Composite):
    """Attention over levels, places and channels of a pyramid.

    Every level is the mean of deformable convolutions of itself and of the levels beside it, all with the
    offsets of this level.

    Args:
        filters: channels of all levels.
        zero_offsets: offsets and masks start at 0.

    Call: ``tuple of [B,h,w,filters]``, fine to coarse -> the same shapes.
    """

    def __init__(self, filters: int, zero_offsets: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spatial_conv_high = SpatialConv(filters)
        self.spatial_conv_mid = SpatialConv(filters)
        self.spatial_conv_low = SpatialConv(filters, stride=2)
        first = "zeros" if zero_offsets else small_kernels()
        self.spatial_conv_offset = Conv2D(3 * _CELLS, 3, padding=1, kernel_initializer=first)
        # the second of the checkpoint's sequence, behind the mean
        self.scale_attn_module: list[Any] = [None, Conv2D(1, 1, kernel_initializer=small_kernels())]
        self.task_attn_module = DynamicReLU(filters)

    def call(self, maps: Maps) -> tuple[Tensor, ...]:
        return tuple(self.level(maps, i) for i in range(len(maps)))

    def level(self, maps: Maps, index: int) -> Tensor:
        """One level of the result."""
        x = maps[index]
        offsets, mask = tf.split(self.spatial_conv_offset(x), [2 * _CELLS, _CELLS], -1)
        mask = tf.sigmoid(mask)
        parts = [self.spatial_conv_mid(x, offsets, mask)]
        if index > 0:
            parts.append(self.spatial_conv_low(maps[index - 1], offsets, mask))
        if index < len(maps) - 1:
            coarser = maps[index + 1]
            own = (first_values(y, coarser) for y in (offsets, mask))
            parts.append(resize_corners(self.spatial_conv_high(coarser, *own), tf.shape(x)[1:3]))
        return self.task_attn_module(tf.add_n([self.scaled(part) for part in parts]) / len(parts))

    def scaled(self, x: Tensor) -> Tensor:
        """A map times one number of its own, between 0 and 1."""
        number = self.scale_attn_module[1](tf.reduce_mean(x, [1, 2], keepdims=True))
        return x * hard_sigmoid(tf.nn.relu(number))


def first_values(x: Tensor, like: Tensor) -> Tensor:
    """``x [B,H,W,K]`` as a map of the height and width of the smaller ``like``.

    Not resized, nor cut: the first values of an image's maps, laid out one after the other, are read as
    maps of the smaller size. So the published weights were trained (MMDetection hands the offsets of the
    larger map to a kernel that counts in the smaller one).
    """
    _, height, width, channels = sizes_of(x)
    _, new_height, new_width, _ = sizes_of(like)
    flat = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, channels * height * width])
    flat = flat[:, : channels * new_height * new_width]
    return tf.transpose(tf.reshape(flat, [-1, channels, new_height, new_width]), [0, 2, 3, 1])


@register
class DyHead(Composite):
    """Blocks of attention over the levels, places and channels of a pyramid.

    Args:
        filters: channels of all levels.
        num_blocks: blocks.
        zero_offsets: the deformable convolutions start as plain ones.

    Call: ``tuple of [B,h,w,filters]``, fine to coarse, each half as high and wide as the one before, rounded
    up -> the same shapes.
    """

    def __init__(
        self, filters: int = 256, num_blocks: int = 6, zero_offsets: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dyhead_blocks = [DyHeadBlock(filters, zero_offsets) for _ in range(num_blocks)]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Tensor, ...]:
        for block in self.dyhead_blocks:
            inputs = block(inputs)
        return tuple(inputs)
