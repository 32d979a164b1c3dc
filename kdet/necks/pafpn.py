"""Path aggregation network (Liu et al., 2018, arXiv:1803.01534)."""

from typing import Any

import keras

from kdet.layers import ConvModule
from kdet.necks.fpn import FPN
from kdet.registry import register
from kdet.typing import Spec, Tensor


@register
class PAFPN(FPN):
    """FPN with a second, bottom-up path over its outputs.

    Args:
        out_channels: of the outputs.
        norm, conv, activation: of the convolutions.
        other arguments: see ``FPN``.
    """

    def __init__(
        self,
        out_channels: int = 256,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        activation: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(out_channels=out_channels, norm=norm, conv=conv, activation=activation, **kwargs)

        def modules(stride: int) -> list[ConvModule]:
            return [
                ConvModule(
                    out_channels, 3, stride=stride, padding=1, norm=norm, conv=conv, activation=activation,
                    kernel_initializer="glorot_uniform",
                )
                for _ in self.lateral_convs[1:]
            ]  # fmt: skip

        self.downsample_convs, self.pafpn_convs = modules(stride=2), modules(stride=1)

    def refine(self, outputs: list[Tensor]) -> list[Tensor]:
        for i, conv in enumerate(self.downsample_convs):
            outputs[i + 1] = outputs[i + 1] + conv(outputs[i])
        return [outputs[0], *(conv(x) for conv, x in zip(self.pafpn_convs, outputs[1:]))]
