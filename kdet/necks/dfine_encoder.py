"""The hybrid encoder of D-FINE (Peng et al., 2024, arXiv:2410.13842)."""

from typing import Any

import tensorflow as tf

from kdet.layers import MLP, Composite, EncoderLayer, gelu
from kdet.necks.hybrid_encoder import CrossScaleFusion, CSPRepLayer, EncoderConv, HybridEncoder
from kdet.registry import register
from kdet.typing import Tensor


class ELANLayer(Composite):
    """Half of the channels through two layers of RepVGG blocks; both halves and both results are fused.

    Args:
        units: channels of the result; the input has twice as many.
        inner: channels of the layers.
        blocks: RepVGG blocks of each.

    Call: ``[B,h,w,2*units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, inner: int, blocks: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = EncoderConv(2 * units, 1)
        self.csp_rep1, self.conv2 = CSPRepLayer(inner, blocks), EncoderConv(inner, 3)
        self.csp_rep2, self.conv3 = CSPRepLayer(inner, blocks), EncoderConv(inner, 3)
        self.conv4 = EncoderConv(units, 1)

    def call(self, x: Tensor) -> Tensor:
        first, second = tf.split(self.conv1(x), 2, -1)
        third = self.conv2(self.csp_rep1(second))
        fourth = self.conv3(self.csp_rep2(third))
        return self.conv4(tf.concat([first, second, third, fourth], -1))


class SCDown(Composite):
    """Halves a map: a 1x1 convolution, and a depthwise one with a stride.

    Call: ``[B,h,w,C] -> [B,h/2,w/2,units]``.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = EncoderConv(units, 1, activation=None)
        self.conv2 = EncoderConv(units, 3, stride=2, groups=units, activation=None)

    def call(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class DFineFusion(CrossScaleFusion):
    """Fusion by ``ELANLayer``, with separable halving.

    Args:
        see ``CrossScaleFusion``.
    """

    def make_attention(self) -> EncoderLayer:
        mlp = MLP(self.units, self.ffn_units, activation=gelu)
        return EncoderLayer(self.units, self.num_heads, mlp=mlp)

    def make_lateral(self) -> Any:
        return EncoderConv(self.units, 1, activation=None)

    def make_fusion(self) -> Any:
        return ELANLayer(self.units, round(self.expansion * self.units // 2), self.blocks)

    def make_downsampling(self) -> Any:
        return SCDown(self.units)


@register
class DFineEncoder(HybridEncoder):
    """``HybridEncoder`` with layers that keep more of what they compute, and cheaper halving.

    Args:
        see ``HybridEncoder``; ``expansion`` is the share of channels inside of the layers, twice.
    """

    fusion = DFineFusion
