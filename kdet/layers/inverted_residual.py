"""Inverted bottlenecks (Sandler et al., 2018, https://arxiv.org/abs/1801.04381)."""

from typing import Any

import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv_module import ConvModule
from kdet.layers.drop_path import drop_path
from kdet.registry import register
from kdet.typing import Activation, Conv, Norm, Tensor


class SqueezeExcite(Composite):
    """Every channel times a factor that follows from the means of all (Hu et al., 2017, arXiv:1709.01507).

    Args:
        channels: of the map.
        squeezed: channels between the two 1x1 convolutions.
        activation: between them.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = ConvModule(squeezed, 1, activation=activation)
        self.conv2 = ConvModule(channels, 1, activation="sigmoid")

    def call(self, x: Tensor) -> Tensor:
        return x * self.conv2(self.conv1(tf.reduce_mean(x, [1, 2], keepdims=True)))


@register
class InvertedResidual(Composite):
    """1x1 to more channels, a depthwise convolution, 1x1 to fewer, and a shortcut where it fits.

    Args:
        in_channels, filters: channels of input and output.
        expanded: channels between; where they are those of the input, the first convolution is left out.
        kernel_size, stride: of the depthwise convolution.
        squeezed: channels of the squeeze-and-excite between; 0 for none.
        norm, conv, activation: specs of all convolutions; the last has no activation.
        path_rate: see ``kdet.layers.drop_path``.

    Call: ``[B,h,w,in_channels] -> [B,h',w',filters]``.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        expanded: int,
        kernel_size: int = 3,
        stride: int = 1,
        squeezed: int = 0,
        norm: Norm = "bn",
        conv: Conv = None,
        activation: Activation = "relu",
        path_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.has_shortcut, self.path_rate = stride == 1 and in_channels == filters, path_rate
        shared: dict[str, Any] = {"norm": norm, "conv": conv, "activation": activation}
        self.expand_conv = None if expanded == in_channels else ConvModule(expanded, 1, **shared)
        self.depthwise_conv = ConvModule(
            expanded, kernel_size, stride=stride, padding=kernel_size // 2, groups=expanded, **shared
        )
        self.se = SqueezeExcite(expanded, squeezed, activation) if squeezed else None
        self.linear_conv = ConvModule(filters, 1, **{**shared, "activation": None})

    def call(self, x: Tensor) -> Tensor:
        y = x if self.expand_conv is None else self.expand_conv(x)
        y = self.depthwise_conv(y)
        y = y if self.se is None else self.se(y)
        y = self.linear_conv(y)
        return x + drop_path(y, self.path_rate) if self.has_shortcut else y


def divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to ``channels`` that is not smaller by more than a tenth."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest
