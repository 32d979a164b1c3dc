"""ReLUs whose slopes follow from the map (Chen et al., 2020, https://arxiv.org/abs/2003.10027)."""

from typing import Any

import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv_module import ConvModule
from kdet.typing import Tensor


def hard_sigmoid(x: Tensor) -> Tensor:
    """``(x + 3) / 6``, clipped to 0..1."""
    return tf.clip_by_value((x + 3.0) / 6.0, 0.0, 1.0)


class DynamicReLU(Composite):
    """The larger of two lines, whose slopes and offsets follow, by channel, from the means of all channels.

    Args:
        channels: of the map.
        ratio: the means are squeezed to ``channels / ratio`` between the two 1x1 convolutions.

    Call: ``[B,h,w,channels]`` -> the same shape.
    """

    def __init__(self, channels: int, ratio: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = ConvModule(channels // ratio, 1)
        self.conv2 = ConvModule(4 * channels, 1, activation=hard_sigmoid)

    def call(self, x: Tensor) -> Tensor:
        numbers = self.conv2(self.conv1(tf.reduce_mean(x, [1, 2], keepdims=True))) - 0.5
        slope, offset, other_slope, other_offset = tf.split(numbers, 4, -1)  # [B, 1, 1, channels] each
        return tf.maximum(x * (2.0 * slope + 1.0) + offset, x * (2.0 * other_slope) + other_offset)
