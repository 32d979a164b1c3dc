"""Cross stage partial layers of RTMDet (Lyu et al., 2022, arXiv:2212.07784)."""

from typing import Any

import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.csp import CrossStageLayer, swish_conv, uniform_kernel
from kdet.layers.dynamic_relu import hard_sigmoid
from kdet.typing import Norm, Tensor


class ChannelAttention(Composite):
    """Each channel times a number between 0 and 1 that follows from the means of all channels.

    Args:
        channels: of the map.

    Call: ``[B,h,w,channels]`` -> the same shape.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fc = Conv2D(channels, 1, kernel_initializer=uniform_kernel())

    def call(self, x: Tensor) -> Tensor:
        return x * hard_sigmoid(self.fc(tf.reduce_mean(x, [1, 2], keepdims=True)))


class CSPNeXtBlock(Composite):
    """A 3x3 convolution and a separable 5x5 one, with a shortcut around them where wanted."""

    def __init__(self, filters: int, shortcut: bool, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shortcut = shortcut
        self.conv1 = swish_conv(filters, filters, 3, norm=norm)
        self.conv2 = swish_conv(filters, filters, 5, separable=True, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPNeXtLayer(CrossStageLayer):
    """A ``CrossStageLayer`` of ``CSPNeXtBlock``.

    Args:
        in_channels, filters: see ``CrossStageLayer``.
        depth: number of blocks.
        shortcut: whether they have one.
        attention: a ``ChannelAttention`` before the last convolution.
        norm: spec of all norms.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        depth: int = 1,
        shortcut: bool = True,
        attention: bool = False,
        norm: Norm = "bn",
        **kwargs: Any,
    ) -> None:
        blocks = [CSPNeXtBlock(filters // 2, shortcut, norm) for _ in range(depth)]
        super().__init__(in_channels, filters, blocks, norm=norm, **kwargs)
        self.attention = ChannelAttention(2 * (filters // 2)) if attention else None

    def joined(self, x: Tensor) -> Tensor:
        return x if self.attention is None else self.attention(x)
