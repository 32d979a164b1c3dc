"""The neck of YOLOF (Chen et al., 2021): one map, seen at several dilations."""

from collections.abc import Sequence
from typing import Any

from kdet.layers import BatchNorm, Composite, Conv2D, ConvModule
from kdet.registry import register
from kdet.typing import Maps, Tensor


class DilatedBlock(Composite):
    """1x1, dilated 3x3, 1x1 convolutions added to their input."""

    def __init__(self, filters: int, hidden: int, dilation: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = ConvModule(hidden, 1, norm="bn")
        self.conv2 = ConvModule(hidden, 3, padding=dilation, dilation=dilation, norm="bn")
        self.conv3 = ConvModule(filters, 1, norm="bn")

    def call(self, x: Tensor) -> Tensor:
        return x + self.conv3(self.conv2(self.conv1(x)))


@register
class DilatedEncoder(Composite):
    """Projects the last backbone map and widens what a cell sees.

    Args:
        out_channels: channels of the result.
        hidden_channels: channels inside the blocks.
        dilations: one block each.

    Call: ``tuple of [B,h,w,C] -> ([B,h,w,out_channels] of the last,)``.
    """

    def __init__(
        self,
        out_channels: int = 512,
        hidden_channels: int = 128,
        dilations: Sequence[int] = (2, 4, 6, 8),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lateral_conv, self.lateral_norm = Conv2D(out_channels, 1), BatchNorm()
        self.fpn_conv, self.fpn_norm = Conv2D(out_channels, 3, padding=1), BatchNorm()
        self.dilated_encoder_blocks = [DilatedBlock(out_channels, hidden_channels, d) for d in dilations]

    def call(self, features: Maps, training: bool = False) -> tuple[Any]:
        x = self.fpn_norm(self.fpn_conv(self.lateral_norm(self.lateral_conv(features[-1]))))
        for block in self.dilated_encoder_blocks:
            x = block(x)
        return (x,)
