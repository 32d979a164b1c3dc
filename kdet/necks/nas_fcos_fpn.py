"""The pyramid that NAS-FCOS searched (Wang et al., 2019, arXiv:1906.04423)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, Conv2D, ConvModule, make_norm, resize_bilinear, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor

# One cell per line: name in the checkpoint, the two maps it merges, the one of them whose size the result
# has, and whether the second goes through a convolution first. Maps 0, 1, 2 are the adapted backbone maps,
# every cell adds one.
CELLS = (
    ("c22_1", 2, 2, 2, True),
    ("c22_2", 2, 2, 2, True),
    ("c32", 3, 2, 3, False),
    ("c02", 0, 2, 0, False),
    ("c42", 4, 2, 4, True),
    ("c36", 3, 6, 6, True),
    ("c61", 6, 1, 6, True),
)
# What the outputs are made of, fine to coarse; the map CONTEXT is added to each.
OUTPUTS, CONTEXT = (9, 8, 7), 5


class ConcatCell(Composite):
    """Two maps side by side, every output from a pair of neighboring channels.

    Args:
        filters: channels of both maps and of the result.
        second_conv: the second map goes through a convolution too, as the first does.
        norm, conv: specs of these convolutions.
    """

    def __init__(
        self,
        filters: int,
        second_conv: str | Spec | keras.Layer | None,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

        def convolution() -> Any:
            return ConvModule(filters, 3, padding=1, norm=norm, conv=conv, use_bias=True)

        self.input1_conv = convolution()
        self.input2_conv = convolution() if second_conv else None
        self.out_conv = NormFirst(filters)

    def call(self, first: Tensor, second: Tensor, like: Tensor) -> Tensor:
        first = upsample_nearest(self.input1_conv(first), like)
        second = second if self.input2_conv is None else self.input2_conv(second)
        return self.out_conv(tf.concat([first, upsample_nearest(second, like)], -1))


class NormFirst(Composite):
    """Batch norm, ReLU, and a 1x1 convolution in as many groups as it has outputs."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bn: Any = make_norm("bn")[1]
        self.conv = Conv2D(filters, 1, groups=filters, use_bias=False)

    def call(self, x: Tensor) -> Tensor:
        return self.conv(tf.nn.relu(self.bn(x)))


@register
class NASFCOSFPN(Composite):
    """Backbone maps merged by seven searched cells, and two coarser levels behind them.

    Args:
        out_channels: channels of every output.
        start_level: first of the three backbone maps that are used.
        norm, conv: specs of the cells' convolutions.

    Call: ``tuple of [B,h,w,C] -> tuple of five [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(
        self,
        out_channels: int = 256,
        start_level: int = 1,
        norm: str | Spec | None = "bn",
        conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start_level = start_level
        self.adapt_convs = [ConvModule(out_channels, 1, norm="bn") for _ in range(3)]
        self.fpn = {name: ConcatCell(out_channels, second, norm, conv) for name, *_, second in CELLS}
        # in the checkpoint modules without a norm
        self.extra_downsamples = [ConvModule(out_channels, 3, stride=2, padding=1, activation=None)]
        self.extra_downsamples.append(ConvModule(out_channels, 3, stride=2, padding=1, activation_first=True))

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        inputs = inputs[self.start_level :]
        maps = [conv(x) for conv, x in zip(self.adapt_convs, inputs, strict=True)]
        for name, first, second, like, _ in CELLS:
            maps.append(self.fpn[name](maps[first], maps[second], maps[like]))
        outputs = []
        for index, like in zip(OUTPUTS, inputs, strict=True):
            x = maps[index] + resize_bilinear(maps[CONTEXT], tf.shape(maps[index])[1:3])
            outputs.append(resize_bilinear(x, tf.shape(like)[1:3]))
        for conv in self.extra_downsamples:
            outputs.append(conv(outputs[-1]))
        return tuple(outputs)
