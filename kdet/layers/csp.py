"""Cross stage partial layers (Wang et al., 2020, arXiv:1911.11929) and the convolutions of YOLOX."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers.composite import Composite, apply_list
from kdet.layers.conv_module import ConvModule
from kdet.layers.separable import SeparableConvModule
from kdet.typing import Norm, Tensor

NORM = {"kind": "bn", "epsilon": 1e-3, "momentum": 0.03}


def uniform_kernel() -> keras.initializers.Initializer:
    """PyTorch's own initializer of convolutions: uniform, by the number of inputs."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def swish_conv(
    in_channels: int,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    separable: bool = False,
    norm: Norm | None = None,
) -> ConvModule | SeparableConvModule:
    """Convolution, norm, Swish; padded to keep the size but for the stride.

    Args:
        separable: a ``SeparableConvModule`` (YOLOX-nano).
        norm: its spec; None for YOLOX's batch norm.
    """
    arguments: dict[str, Any] = {
        "stride": stride,
        "padding": kernel_size // 2,
        "norm": norm or NORM,
        "activation": "silu",
        "kernel_initializer": uniform_kernel(),
    }
    if separable:
        return SeparableConvModule(in_channels, filters, kernel_size, **arguments)
    return ConvModule(filters, kernel_size, **arguments)


class CSPBottleneck(Composite):
    """A 1x1 and a 3x3 convolution, with a shortcut around them where wanted."""

    def __init__(self, filters: int, shortcut: bool, separable: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shortcut = shortcut
        self.conv1 = swish_conv(filters, filters, 1)
        self.conv2 = swish_conv(filters, filters, 3, separable=separable)

    def call(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CrossStageLayer(Composite):
    """Two halves of the channels: one through blocks, the other past them.

    Args:
        in_channels: of the input.
        filters: channels of the output.
        blocks: layers that keep the ``filters // 2`` channels of their input.
        norm: spec of the norms outside of the blocks; None for YOLOX's batch norm.

    Call: ``[B,h,w,in_channels] -> [B,h,w,filters]``.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        blocks: Sequence[keras.Layer],
        norm: Norm | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        half = filters // 2
        self.main_conv = swish_conv(in_channels, half, 1, norm=norm)
        self.short_conv = swish_conv(in_channels, half, 1, norm=norm)
        self.final_conv = swish_conv(2 * half, filters, 1, norm=norm)
        self.blocks = list(blocks)

    def call(self, x: Tensor) -> Tensor:
        main = apply_list(self.blocks, self.main_conv(x))
        return self.final_conv(self.joined(tf.concat([main, self.short_conv(x)], -1)))

    def joined(self, x: Tensor) -> Tensor:
        """What becomes of both halves ``[B,h,w,2 * (filters // 2)]`` before the last convolution."""
        return x


class CSPLayer(CrossStageLayer):
    """A ``CrossStageLayer`` of YOLOX's bottlenecks.

    Args:
        in_channels, filters: see ``CrossStageLayer``.
        depth: number of bottlenecks.
        shortcut: whether they have one.
        separable: their 3x3 convolutions are separable.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        depth: int = 1,
        shortcut: bool = True,
        separable: bool = False,
        **kwargs: Any,
    ) -> None:
        blocks = [CSPBottleneck(filters // 2, shortcut, separable) for _ in range(depth)]
        super().__init__(in_channels, filters, blocks, **kwargs)
