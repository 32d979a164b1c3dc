"""Convolution at some places only (guided anchoring; Wang et al., 2019)."""

from kdet import ops
from kdet.layers.conv import Conv2D
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Tensor


@register
class MaskedConv2D(NoXla, Conv2D):
    """As ``Conv2D`` without groups or dilation; where ``places`` is False the output is 0, without bias.

    Call: ``x [B,H,W,C]``, optionally ``places [B,H',W']`` bool -> ``[B,H',W',filters]``.
    """

    def call(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        if places is None:
            return super().call(x)
        return ops.masked_conv2d(x, places, self.kernel, self.bias, strides=self.stride, padding=self.padding)
