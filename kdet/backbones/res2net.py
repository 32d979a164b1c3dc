"""Res2Net feature extractors (Gao et al., 2019, arXiv:1904.01169)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.backbones.resnet import Bottleneck, ResNet
from kdet.layers import conv_norm, make_conv, make_norm, padded_average
from kdet.registry import register
from kdet.typing import Spec, Tensor


class Res2Block(Bottleneck):
    """Bottleneck whose 3x3 convolution is a chain over slices of the channels.

    Args:
        scales: slices; the last passes without a convolution.
        width: channels of one slice.
        other arguments: see ``Bottleneck``.

    The first block of a stage (the one with a projected shortcut) keeps its slices apart.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        dilation: int = 1,
        shortcut: Any = None,
        scales: int = 4,
        width: int = 26,
        **kwargs: Any,
    ) -> None:
        self.scales, self.slice_width, self.apart = scales, width, shortcut is not None
        super().__init__(filters, stride, dilation, shortcut, width=width * scales, **kwargs)

    def add_middle(
        self,
        conv: str | Spec | keras.Layer | None,
        norm: str | Spec | None,
        width: int,
        stride: int,
        dilation: int,
        groups: int,
    ) -> None:
        self.middle_stride = stride
        self.convs = [
            make_conv(
                conv, self.slice_width, 3, stride=stride, padding=dilation, dilation=dilation, use_bias=False
            )
            for _ in range(self.scales - 1)
        ]
        self.bns = [make_norm(norm)[1] for _ in self.convs]

    def middle(self, x: Tensor) -> Tensor:
        *slices, last = tf.split(x, self.scales, axis=-1)
        outputs: list[Tensor] = []
        for piece, conv, norm in zip(slices, self.convs, self.bns):
            if outputs and not self.apart:
                piece = piece + outputs[-1]
            outputs.append(tf.nn.relu(conv_norm(conv, norm, piece)))
        if self.middle_stride > 1:
            last = padded_average(last, self.middle_stride)
        return tf.concat([*outputs, last], -1)


@register
class Res2Net(ResNet):
    """Res2Net v1d: three convolutions in the stem, pooled shortcuts.

    Args:
        scales: slices of a block's channels.
        base_width: channels of a slice where the stage has ``base_channels`` filters.
        other arguments: see ``ResNet``.
    """

    block_classes = (None, Res2Block)

    def __init__(self, depth: int = 101, scales: int = 4, base_width: int = 26, **kwargs: Any) -> None:
        self.scales = scales
        super().__init__(depth=depth, base_width=base_width, deep_stem=True, avg_down=True, **kwargs)

    def bottleneck_arguments(self, filters: int) -> dict[str, Any]:
        return {"scales": self.scales, "width": int(filters * self.base_width / self.base_channels)}
