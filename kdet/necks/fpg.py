"""Feature pyramid grids (Chen et al., 2020, arXiv:2004.03580)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, Conv2D, ConvModule, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


class Enlarge(Composite):
    """Nearest up-sampling, then ReLU, convolution, norm."""

    def __init__(self, filters: int, norm: str | Spec | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = ConvModule(filters, 3, padding=1, norm=norm, activation_first=True)

    def call(self, x: Tensor, like: Tensor) -> keras.Layer:
        return self.conv(upsample_nearest(x, like))


class OutputConv(Composite):
    """ReLU and convolution on a level's last map."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv_out = ConvModule(filters, 3, padding=1, activation_first=True)

    def call(self, x: Tensor) -> Tensor:
        return self.conv_out(x)


@register
class FPG(Composite):
    """A stack of bottom-up pyramids; every node sums up its neighbors in the grid.

    A node takes the finer node of its own pyramid (strided convolution), and of the pyramid before the
    node of its level (1x1), the coarser one (enlarged), and of the first pyramid its level (1x1).

    Args:
        out_channels: channels of every node and output.
        num_outs: levels.
        stack_times: pyramids.
        num_inputs, start_level: backbone maps and the first one used.
        extra_convs: levels that the backbone lacks come from strided convolutions, else from sub-sampling.
        skips: per level, the pyramids in which the level is only handed on.
        norm: spec of all norms.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(
        self,
        out_channels: int = 256,
        num_outs: int = 5,
        stack_times: int = 9,
        num_inputs: int = 4,
        start_level: int = 0,
        extra_convs: bool = False,
        skips: Sequence[Sequence[int]] = ((0, 1, 2, 3), (0, 1, 2), (0, 1), (0,), ()),
        norm: str | Spec | None = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start_level = start_level
        levels = num_inputs - start_level
        self.lateral_convs = [Conv2D(out_channels, 1) for _ in range(levels)]
        self.extra_downsamples = [
            Conv2D(out_channels, 3, stride=2, padding=1) if extra_convs else None
            for _ in range(num_outs - levels)
        ]
        self.fpn_transitions = [
            [
                {} if step in skips[level] else self._node(level, num_outs, out_channels, norm)
                for level in range(num_outs)
            ]
            for step in range(stack_times)
        ]
        self.output_transition = [OutputConv(out_channels) for _ in range(num_outs)]

    @staticmethod
    def _node(level: int, num_outs: int, filters: int, norm: str | Spec | None) -> dict[str, keras.Layer]:
        def module(kernel_size: int, **kwargs: Any) -> ConvModule:
            return ConvModule(filters, kernel_size, norm=norm, activation_first=True, **kwargs)

        node: dict[str, keras.Layer] = {"across_lateral": module(1), "across_skip": module(1)}
        if level > 0:
            node["same_up"] = module(3, stride=2, padding=1)
        if level + 1 < num_outs:
            node["across_down"] = Enlarge(filters, norm)
        return node

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        maps = [conv(x) for conv, x in zip(self.lateral_convs, inputs[self.start_level :])]
        for conv in self.extra_downsamples:
            maps.append(maps[-1][:, ::2, ::2] if conv is None else conv(maps[-1]))
        first = maps
        for nodes in self.fpn_transitions:
            new: list[Tensor] = []
            for level, node in enumerate(nodes):
                new.append(self._merge(node, level, new, maps, first) if node else maps[level])
            maps = new
        return tuple(conv(x) for conv, x in zip(self.output_transition, maps))

    @staticmethod
    def _merge(
        node: Mapping[str, keras.Layer], level: int, new: list[Tensor], maps: Maps, first: Maps
    ) -> Tensor:
        parts = []
        if "same_up" in node:
            parts.append(node["same_up"](new[-1]))
        parts.append(node["across_lateral"](maps[level]))
        if "across_down" in node:
            parts.append(node["across_down"](maps[level + 1], maps[level]))
        return tf.add_n([*parts, node["across_skip"](first[level])])
