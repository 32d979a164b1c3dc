"""Convolutions cut into one per channel and a mix of the channels (MobileNet, Howard et al., 2017)."""

from typing import Any

from kdet.layers.composite import Composite
from kdet.layers.conv_module import ConvModule
from kdet.registry import register
from kdet.typing import Activation, Norm, Tensor


@register
class SeparableConvModule(Composite):
    """A convolution of every channel on its own, then a 1x1 convolution, each with norm and activation.

    Args:
        in_channels: of the input, which are as many groups.
        filters: channels of the output.
        kernel_size, stride, padding: of the first convolution.
        norm, activation, kernel_initializer: see ``ConvModule``, of both.

    Call: ``[B,H,W,in_channels] -> [B,H',W',filters]``.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        norm: Norm | None = None,
        activation: Activation | None = "relu",
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depthwise_conv = ConvModule(
            in_channels, kernel_size, stride=stride, padding=padding, groups=in_channels, norm=norm,
            activation=activation, kernel_initializer=kernel_initializer,
        )  # fmt: skip
        self.pointwise_conv = ConvModule(
            filters, 1, norm=norm, activation=activation, kernel_initializer=kernel_initializer
        )

    def call(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))
