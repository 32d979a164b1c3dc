"""Stacked hourglass networks (Newell et al., 2016) as CornerNet has them."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.backbones.resnet import BasicBlock, make_stage
from kdet.layers import Composite, ConvModule, upsample_nearest
from kdet.registry import register
from kdet.typing import Tensor


def _uniform() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def _blocks(filters: int, count: Tensor, input_channels: int, stride: int = 1) -> list[keras.Layer]:
    """Residual blocks; the first one changes size and channels."""
    conv = {"kind": "conv", "kernel_initializer": _uniform()}
    return make_stage(BasicBlock, filters, count, stride, 1, input_channels, "bn", conv)


def _module(filters: int, kernel_size: int, **kwargs: Any) -> ConvModule:
    return ConvModule(
        filters, kernel_size, padding=kernel_size // 2, norm="bn", kernel_initializer=_uniform(), **kwargs
    )


def _run(layers: Sequence[Any], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class Hourglass(Composite):
    """Down by two, an hourglass of one level less (or plain blocks), up again, plus a shortcut of full size.

    Args:
        channels, blocks: of this level and those below it; as many levels as there are pairs.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        (own, below), count = channels[:2], blocks[0]
        self.up1 = _blocks(own, count, own)
        self.low1 = _blocks(below, count, own, stride=2)
        deepest = len(channels) == 2
        self.low2 = _blocks(below, blocks[1], below) if deepest else Hourglass(channels[1:], blocks[1:])
        # here it is the last block that changes the channels
        before = _blocks(below, count - 1, below) if count > 1 else []
        self.low3 = [*before, *_blocks(own, 1, below)]

    def call(self, x: Tensor) -> Tensor:
        up = _run(self.up1, x)
        low = _run(self.low1, x)
        low = self.low2(low) if isinstance(self.low2, Composite) else _run(self.low2, low)
        return up + upsample_nearest(_run(self.low3, low), up)


@register
class HourglassNet(Composite):
    """Hourglasses one behind the other; each one's map is supervised.

    Args:
        stacks: number of hourglasses (2 make Hourglass-104).
        channels, blocks: per level of an hourglass, from full size down.
        filters: channels of the outputs.

    Call: ``[B,H,W,3] -> tuple of [B,H/4,W/4,filters]``, one per stack.
    """

    def __init__(
        self,
        stacks: int = 2,
        channels: Sequence[int] = (256, 256, 384, 384, 384, 512),
        blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        filters: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        channels, blocks, width = tuple(channels), tuple(blocks), channels[0]
        self.feature_info = [(filters, 4)] * stacks
        self.stem: list[Any] = [_module(width // 2, 7, stride=2), _blocks(width, 1, width // 2, stride=2)]
        self.hourglass_modules = [Hourglass(channels, blocks) for _ in range(stacks)]
        self.out_convs = [_module(filters, 3) for _ in range(stacks)]
        between = range(stacks - 1)
        self.inters = [block for _ in between for block in _blocks(width, 1, width)]
        self.conv1x1s = [_module(width, 1, activation=None) for _ in between]
        self.remap_convs = [_module(width, 1, activation=None) for _ in between]

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        x = _run(self.stem[1], self.stem[0](x))
        outputs = []
        for i, hourglass in enumerate(self.hourglass_modules):
            outputs.append(self.out_convs[i](hourglass(x)))
            if i < len(self.inters):
                x = self.inters[i](tf.nn.relu(self.conv1x1s[i](x) + self.remap_convs[i](outputs[-1])))
        return tuple(outputs)
