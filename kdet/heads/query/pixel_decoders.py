"""From a backbone's maps to the one map that masks are made of, and to what the queries look at."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo
from kdet.heads.dense.base import level_shapes
from kdet.heads.query.base import valid_cells
from kdet.heads.query.deformable_transformer import cell_centers, flatten_cells
from kdet.layers import (
    Composite,
    Conv2D,
    ConvModule,
    DeformableAttention,
    DropoutMasks,
    Embedding,
    FeatureLevels,
    Given,
    MultiheadAttention,
    SinePositionEncoding,
    TransformerEncoder,
    TransformerLayer,
    resize_bilinear,
    upsample_nearest,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor

_NORM = {"kind": "gn", "groups": 32}


def flat_map(x: Tensor) -> Tensor:
    """``[B,h,w,...] -> [B,h*w,...]``."""
    return flatten_cells([x])


@register
class PixelDecoder(Composite):
    """A pyramid from the coarsest map down to the finest (MaskFormer, Cheng et al., 2021).

    Args:
        units: channels of the pyramid and of its result.
        num_inputs: number of maps.

    Call: ``maps`` (a tuple ``[B,h,w,C]``, fine to coarse), ``info`` (with ``canvas``), ``masks`` -> the
    map for the masks ``[B,h,w,units]`` in the size of the finest, and the map that queries look at.
    """

    def __init__(self, units: int = 256, num_inputs: int = 4, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.lateral_convs = [
            ConvModule(units, 1, norm=_NORM, activation=None) for _ in range(num_inputs - 1)
        ]
        self.output_convs = [ConvModule(units, 3, padding=1, norm=_NORM) for _ in range(num_inputs - 1)]
        self.add_top(units)
        self.mask_feature = Conv2D(units, 3, padding=1)

    def add_top(self, units: int) -> None:
        """Adds the layers of the coarsest map."""
        self.last_feat_conv = ConvModule(units, 3, padding=1, norm=_NORM)

    def top(self, x: Tensor, info: ImageInfo, masks: DropoutMasks | None) -> tuple[Tensor, Tensor]:
        """The pyramid's coarsest level ``[B,h,w,units]``, and the map that queries look at."""
        return self.last_feat_conv(x), x

    def call(self, maps: Maps, info: ImageInfo, masks: DropoutMasks | None = None) -> tuple[Tensor, Any]:
        x, memory = self.top(maps[-1], info, masks)
        levels = list(zip(maps, self.lateral_convs, self.output_convs))
        for own, lateral, output in reversed(levels):
            own = lateral(own)
            x = output(own + upsample_nearest(x, own))
        return self.mask_feature(x), memory


@register
class EncoderPixelDecoder(PixelDecoder):
    """``PixelDecoder`` whose coarsest map passes a transformer's encoder first.

    Args:
        num_heads, ffn_units, encoder_layers, dropout: of the encoder.
        other arguments: see ``PixelDecoder``.
    """

    def __init__(
        self,
        units: int = 256,
        num_inputs: int = 4,
        num_heads: int = 8,
        ffn_units: int = 2048,
        encoder_layers: int = 6,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(units=units, num_inputs=num_inputs, **kwargs)
        self.encoder = TransformerEncoder(
            [
                TransformerLayer([MultiheadAttention(units, num_heads, dropout)], ffn_units, units, dropout)
                for _ in range(encoder_layers)
            ]
        )
        self.position = SinePositionEncoding(units)

    def add_top(self, units: int) -> None:
        self.encoder_in_proj = Conv2D(units, 1)
        self.encoder_out_proj = ConvModule(units, 3, padding=1, norm=_NORM)

    def top(self, x: Tensor, info: ImageInfo, masks: DropoutMasks | None) -> tuple[Tensor, Tensor]:
        x = self.encoder_in_proj(x)
        valid = valid_cells(x, info)
        position = flat_map(self.position(valid))
        given = Given({"query_pos": position, "key_pos": position, "key_valid": flat_map(valid)})
        memory = tf.reshape(self.encoder(flat_map(x), given=given, masks=masks), tf.shape(x))
        memory.set_shape(x.shape)
        return self.encoder_out_proj(memory), memory


@register
class DeformablePixelDecoder(Composite):
    """Deformable attention among the three coarser maps, a pyramid for the finest (Cheng et al., 2022).

    Args:
        units: channels of everything.
        num_inputs: number of maps.
        num_levels: how many of them, the coarsest, the encoder looks at.
        num_heads, num_points, ffn_units, encoder_layers: of the encoder.

    Call: as ``PixelDecoder``, but queries look at ``num_levels`` maps, coarse to fine.
    """

    def __init__(
        self,
        units: int = 256,
        num_inputs: int = 4,
        num_levels: int = 3,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_units: int = 1024,
        encoder_layers: int = 6,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_levels, self.position = num_levels, SinePositionEncoding(units)
        self.input_convs = [
            ConvModule(units, 1, norm=_NORM, activation=None, use_bias=True) for _ in range(num_levels)
        ]
        self.encoder = TransformerEncoder(
            [
                TransformerLayer(
                    [DeformableAttention(units, num_heads, num_levels, num_points, dropout=0.0)],
                    ffn_units,
                    units,
                )
                for _ in range(encoder_layers)
            ]
        )
        self.level_encoding = Embedding(num_levels, units)
        finer = range(num_inputs - num_levels)
        self.lateral_convs = [ConvModule(units, 1, norm=_NORM, activation=None) for _ in finer]
        self.output_convs = [ConvModule(units, 3, padding=1, norm=_NORM) for _ in finer]
        self.mask_feature = Conv2D(units, 1)

    def call(self, maps: Maps, info: ImageInfo, masks: DropoutMasks | None = None) -> tuple[Tensor, Any]:
        coarse = [conv(x) for conv, x in zip(self.input_convs, reversed(maps))]
        levels = self.encoded(coarse, masks)
        x = levels[-1]
        finer = list(zip(maps, self.lateral_convs, self.output_convs))
        for own, lateral, output in reversed(finer):
            own = lateral(own)
            x = output(own + resize_bilinear(x, tf.shape(own)[1:3]))
        return self.mask_feature(x), levels

    def encoded(self, maps: Sequence[Tensor], masks: DropoutMasks | None) -> list[Tensor]:
        """The maps ``[B,h,w,units]`` after they looked at each other, padding included."""
        # the padding of the images takes part, as in MMDetection
        everything = [tf.ones(tf.shape(x)[:3], tf.bool) for x in maps]
        everything = [tf.ensure_shape(v, x.shape[:3]) for v, x in zip(everything, maps)]
        kinds = tf.unstack(self.level_encoding(maps[0])[0])
        positions = [tf.cast(self.position(v), kind.dtype) + kind for v, kind in zip(everything, kinds)]
        levels = FeatureLevels(level_shapes(maps), flatten_cells(everything))
        references = tf.repeat(cell_centers(everything)[:, :, None], self.num_levels, 2)
        given = Given({"query_pos": flatten_cells(positions), "references": references, "levels": levels})
        cells = self.encoder(flatten_cells(maps), given=given, masks=masks)
        sizes = [h * w for h, w in levels.shapes]
        parts = tf.split(cells, sizes, axis=1)
        return [tf.ensure_shape(tf.reshape(p, tf.shape(x)), x.shape) for p, x in zip(parts, maps)]
