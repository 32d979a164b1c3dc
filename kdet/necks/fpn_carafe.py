"""FPN with content-aware up-sampling (Wang et al., 2019, arXiv:1905.02188)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import CarafeUpsample, ConvModule
from kdet.necks.fpn import FPN
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class FPNCarafe(FPN):
    """FPN whose coarse maps are enlarged by ``CarafeUpsample``.

    Levels that the backbone does not have are made by strided convolutions on its last map and take part
    in the top-down path.

    Args:
        out_channels, num_outs: channels and number of the outputs.
        norm, conv, activation: of the convolutions.
        other arguments: see ``FPN``.
    """

    def __init__(
        self,
        out_channels: int = 256,
        num_outs: int = 5,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        activation: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            out_channels=out_channels,
            num_outs=num_outs,
            norm=norm,
            conv=conv,
            activation=activation,
            **kwargs,
        )
        extra = range(len(self.lateral_convs), num_outs)

        def modules(stride: int) -> list[ConvModule]:
            return [
                ConvModule(
                    out_channels, 3, stride=stride, padding=1, norm=norm, conv=conv, activation=activation,
                    kernel_initializer="glorot_uniform",
                )
                for _ in extra
            ]  # fmt: skip

        self.lateral_convs += modules(stride=2)
        self.fpn_convs += modules(stride=1)
        self.upsample_modules = [CarafeUpsample() for _ in range(num_outs - 1)]

    def laterals(self, inputs: Maps) -> list[Tensor]:
        levels = len(inputs)
        laterals = super().laterals(inputs)
        x = inputs[-1]
        for conv in self.lateral_convs[levels:]:
            x = conv(x)
            laterals.append(x)
        return laterals

    def upsample(self, index: int, x: Tensor, like: Tensor) -> Tensor:
        x = self.upsample_modules[index - 1](x)
        size = tf.shape(like)
        return tf.ensure_shape(x[:, : size[1], : size[2]], like.shape)
