"""The neck of CenterNet on ResNets (Zhou et al., 2019, arXiv:1904.07850): up to a quarter of the image."""

from collections.abc import Sequence
from typing import Any

from kdet.layers import Composite, ConvModule, apply_list
from kdet.registry import register
from kdet.typing import Conv, Maps


@register
class CTResNetNeck(Composite):
    """A 3x3 convolution and a transposed one that doubles the size, by turns, on the coarsest map.

    Args:
        channels: of every pair, coarse to fine.
        conv: spec of the 3x3 convolutions, ``dcn_v2`` or None for plain ones.

    Call: ``tuple of [B,h,w,C] -> ([B,h*2**n,w*2**n,channels[-1]],)``.
    """

    def __init__(self, channels: Sequence[int] = (256, 128, 64), conv: Conv = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deconv_layers = []
        for filters in channels:
            self.deconv_layers += [
                ConvModule(filters, 3, padding=1, conv=conv, norm="bn"),
                ConvModule(filters, 4, stride=2, padding=1, conv="deconv", norm="bn"),
            ]

    def call(self, features: Maps, training: bool = False) -> tuple[Any, ...]:
        return (apply_list(self.deconv_layers, features[-1]),)
