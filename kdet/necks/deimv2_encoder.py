"""The encoders of DEIMv2 (Huang et al., 2025, arXiv:2509.20787)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from kdet.layers import Composite, apply_list, padded_average, upsample_nearest
from kdet.necks.dfine_encoder import DFineFusion
from kdet.necks.hybrid_encoder import EncoderConv, HybridEncoder, RepVGGBlock
from kdet.registry import register
from kdet.typing import Maps, Tensor


class SplitCSPLayer(Composite):
    """One half of the channels through RepVGG blocks, summed with the other.

    Args:
        filters: channels of the result.
        blocks: number of RepVGG blocks.
        trailing: whether a 3x3 convolution ends it.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, blocks: int, trailing: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = EncoderConv(2 * filters, 1)
        self.bottlenecks = [RepVGGBlock(filters) for _ in range(blocks)]
        self.conv2 = EncoderConv(filters, 3) if trailing else None

    def call(self, x: Tensor) -> Tensor:
        around, x = tf.split(self.conv1(x), 2, -1)
        x = around + apply_list(self.bottlenecks, x)
        return x if self.conv2 is None else self.conv2(x)


class SlimELANLayer(Composite):
    """D-FINE's ``ELANLayer`` without the convolutions between its layers.

    Args:
        units, inner: channels of input and result, and of the layers.
        blocks, trailing: of the layers.

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, inner: int, blocks: int, trailing: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1, self.conv2 = EncoderConv(2 * units, 1), EncoderConv(units, 1)
        self.csp_rep1 = SplitCSPLayer(inner, blocks, trailing)
        self.csp_rep2 = SplitCSPLayer(inner, blocks, trailing)

    def call(self, x: Tensor) -> Tensor:
        first, second = tf.split(self.conv1(x), 2, -1)
        third = self.csp_rep1(second)
        return self.conv2(tf.concat([first, second, third, self.csp_rep2(third)], -1))


class DEIMv2Fusion(DFineFusion):
    """Fusion by ``SlimELANLayer`` of sums.

    Args:
        see ``CrossScaleFusion``.
    """

    trailing: ClassVar[bool] = True

    def make_fusion(self) -> Any:
        inner = round(self.expansion * self.units // 2)
        return SlimELANLayer(self.units, inner, self.blocks, self.trailing)

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


@register
class DEIMv2Encoder(HybridEncoder):
    """``DFineEncoder`` that adds maps instead of stacking them, with fewer convolutions.

    Args:
        see ``HybridEncoder``.
    """

    fusion = DEIMv2Fusion
    backbone_name = "conv_encoder"
    torch_names = {"encoder_input_proj": "conv_encoder.encoder_input_proj"}

    def make_projection(self, units: int) -> Any:
        return EncoderConv(units, 1, activation=None)

    def project(self, layers: Any, x: Tensor) -> Tensor:
        return layers(x)


class ShortFusion(DEIMv2Fusion):
    """``DEIMv2Fusion`` without the convolutions that end its layers.

    Args:
        see ``CrossScaleFusion``.
    """

    trailing = False


@register
class DEIMv2ShortEncoder(DEIMv2Encoder):
    """``DEIMv2Encoder`` behind a transformer as backbone: with fewer convolutions still.

    Args:
        see ``HybridEncoder``.
    """

    fusion = ShortFusion


class LiteFusion(Composite):
    """A second map from one, and layers of convolutions down and up.

    Args:
        units: channels.
        blocks, expansion: of the layers.

    Call: ``[B,h,w,C]`` -> two maps.
    """

    def __init__(self, units: int, blocks: int, expansion: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inner = round(expansion * units // 2)
        self.input_proj = [EncoderConv(units, 1, activation=None)]
        self.down_conv1, self.down_conv2 = EncoderConv(units, 1), EncoderConv(units, 1)
        self.bi_fusion_conv = EncoderConv(units, 1)
        self.fpn_block = SlimELANLayer(units, inner, blocks, True)
        self.pan_block = SlimELANLayer(units, inner, blocks, True)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.input_proj[0](x)
        coarse = self.down_conv1(padded_average(fine, 2))
        coarse = self.bi_fusion_conv(coarse + tf.reduce_mean(coarse, [1, 2], keepdims=True))
        fine = self.fpn_block(fine + upsample_nearest(coarse, fine))
        return fine, self.pan_block(coarse + self.down_conv2(padded_average(fine, 2)))


@register
class DEIMv2LiteEncoder(Composite):
    """Encoder without attention of the smallest models: one map in, two out.

    Args:
        units: channels of both.
        blocks, expansion: see ``HybridEncoder``.

    Call: ``([B,h,w,C],)`` -> ``[B,h,w,units]`` and half as large.
    """

    backbone_name = "conv_encoder"

    def __init__(self, units: int = 64, blocks: int = 2, expansion: float = 0.34, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = LiteFusion(units, blocks, expansion)

    def call(self, maps: Maps, training: bool = False) -> Sequence[Tensor]:
        (x,) = maps
        return self.encoder(x)
