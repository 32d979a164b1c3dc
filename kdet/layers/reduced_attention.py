"""Attention to a reduced map (Wang et al., 2021, https://arxiv.org/abs/2102.12122)."""

from typing import Any

import tensorflow as tf

from kdet.layers.attention import DotProductAttention
from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.norm import LayerNorm
from kdet.layers.shapes import sizes_of
from kdet.typing import Tensor


class SpatialReductionAttention(Composite):
    """Every pixel attends to all pixels of the map after it was reduced by a strided convolution.

    Rows and columns that do not fill a patch of the convolution are left out of the reduced map.

    Args:
        units: channels of input and result.
        num_heads: heads, a divisor of ``units``.
        reduction: side of the patches; 1: the map as it is.
        epsilon: of the norm behind the convolution.

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(
        self, units: int, num_heads: int, reduction: int = 1, epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.reduction = reduction
        self.attn = DotProductAttention(units, num_heads)
        if reduction > 1:
            self.sr = Conv2D(units, reduction, stride=reduction)
            self.norm = LayerNorm(epsilon)

    def call(self, x: Tensor) -> Tensor:
        batch, height, width, channels = sizes_of(x)
        seen = self.norm(self.sr(x)) if self.reduction > 1 else x
        query, key = (tf.reshape(y, [batch, -1, channels]) for y in (x, seen))
        return tf.reshape(self.attn(query, key, key), [batch, height, width, channels])
