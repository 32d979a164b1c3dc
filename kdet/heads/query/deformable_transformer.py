"""The transformer of Deformable DETR (Zhu et al., 2021)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kdet.heads.dense.base import level_shapes
from kdet.layers import (
    Composite,
    DeformableAttention,
    FeatureLevels,
    Given,
    LayerNorm,
    Linear,
    MultiheadAttention,
    TransformerEncoder,
    TransformerLayer,
    sine_encoding,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor


def flatten_cells(maps: Maps) -> Tensor:
    """Maps ``[B,h,w,...]`` one after the other: ``[B,S,...]``."""
    rows = [tf.reshape(x, [tf.shape(x)[0], math.prod(s), *x.shape[3:]]) for x, s in _with_shapes(maps)]
    return tf.concat(rows, 1)


def _with_shapes(maps: Maps) -> Any:
    return zip(maps, level_shapes(maps))


def cell_centers(valid_maps: Maps) -> Tensor:
    """Middles of all cells in 0..1 of the valid part of their map: float32 ``[B,S,2]`` (x, y)."""
    levels = []
    for valid, (h, w) in _with_shapes(valid_maps):
        x, y = (tf.cast(tf.range(n), tf.float32) + 0.5 for n in (w, h))
        grid = tf.stack(tf.meshgrid(x, y), -1)  # [h, w, 2]
        levels.append(grid / valid_counts(valid)[:, None, None, :])
    return flatten_cells(levels)


def valid_counts(valid: Tensor) -> Tensor:
    """Columns and rows of a map ``[B,h,w]`` that lie in the image: float32 ``[B,2]``."""
    valid = tf.cast(valid, tf.float32)
    return tf.stack([tf.reduce_sum(valid[:, 0], 1), tf.reduce_sum(valid[:, :, 0], 1)], -1)


def valid_ratios(valid_maps: Maps) -> Tensor:
    """Shares of the columns and rows that lie in the image: float32 ``[B,levels,2]``."""
    ratios = [
        valid_counts(v) / tf.cast(tf.stack([w, h]), tf.float32) for v, (h, w) in _with_shapes(valid_maps)
    ]
    return tf.stack(ratios, 1)


@register
class DeformableDecoder(TransformerEncoder):
    """Decoder layers that sample around a reference of each query.

    Call: ``x [B,Q,units]``, ``memory [B,S,units]``, ``query_pos``, ``references [B,Q,2 or 4]`` (0..1 of
    the image), ``ratios [B,levels,2]``, ``levels`` (``FeatureLevels``), ``refine``: per layer a function
    of (state, references) that gives better boxes for the next layer, or None, ``visible`` bool
    ``[1 or B,Q,Q]``: which query (last) another may look at, None for all, ``narrow``: a function of (index,
    state, references) that says after a layer what is ``visible`` in the next, or None -> states
    ``[layers,B,Q,units]`` and the references after each layer.
    """

    def __init__(self, layers: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(layers=layers, autocast=False, **kwargs)

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        query_pos: Tensor | None = None,
        references: Any = None,
        ratios: Any = None,
        levels: Any = None,
        refine: Any = None,
        visible: Tensor | None = None,
        narrow: Any = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        states, boxes = [], []
        for i, layer in enumerate(self.layers):
            scale = tf.tile(ratios, [1, 1, references.shape[-1] // 2])
            places = references[:, :, None] * scale[:, None]  # [B, Q, levels, 2 or 4]
            position = self.position(query_pos, places[:, :, 0], x.dtype)
            among = {"query_pos": position, "key_pos": position, "key_valid": visible}
            across = {"value": memory, "query_pos": position, "references": places, "levels": levels}
            x = layer(x, given=Given(among, across), masks=masks)
            states.append(self.state(x))
            boxes.append(references if refine is None else refine[i](x, references))
            if refine is not None:
                references = tf.stop_gradient(boxes[-1])
            if narrow is not None and i + 1 < len(self.layers):
                visible = narrow(i, x, references)
        return tf.stack(states), tf.stack(boxes)

    def position(self, query_pos: Tensor | None, places: Tensor, dtype: tf.DType) -> Tensor:
        """Position encoding of a layer's queries, from that given or the places ``[B,Q,2 or 4]``."""
        return query_pos

    def state(self, x: Tensor) -> Tensor:
        """What a layer says of its result ``x``."""
        return x


class DeformableEncoding(Composite):
    """The encoder over all cells of all levels.

    Args:
        units, num_heads, num_levels, num_points, ffn_units: of all layers.
        encoder_layers: their number.
        dropout: rate.
        two_stage: queries are made from the encoder's best cells.

    Attributes:
        layer_type: of all layers.
    """

    layer_type: ClassVar[type[TransformerLayer]] = TransformerLayer

    def __init__(
        self,
        units: int,
        num_heads: int,
        num_levels: int,
        num_points: int,
        ffn_units: int,
        encoder_layers: int,
        dropout: float,
        two_stage: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.units, self.num_heads, self.ffn_units, self.dropout = units, num_heads, ffn_units, dropout
        self.sampled = num_levels, num_points
        self.encoder = TransformerEncoder(
            [self.make_layer([self.make_sampling()]) for _ in range(encoder_layers)]
        )
        self.level_embeds = self.add_weight(
            name="level_embeds",
            shape=(num_levels, units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        if two_stage:
            self.enc_output, self.enc_output_norm = Linear(units), LayerNorm()

    def make_sampling(self) -> DeformableAttention:
        """An attention to the cells."""
        return DeformableAttention(self.units, self.num_heads, *self.sampled, self.dropout)

    def make_layer(self, attentions: list[keras.Layer]) -> TransformerLayer:
        """A layer of the encoder or a decoder."""
        return self.layer_type(attentions, self.ffn_units, self.units, self.dropout)

    def make_decoder_layers(self, count: int) -> list[TransformerLayer]:
        """Layers of a decoder: the queries look at each other, then at the cells."""

        def among() -> MultiheadAttention:
            return MultiheadAttention(self.units, self.num_heads, self.dropout)

        return [self.make_layer([among(), self.make_sampling()]) for _ in range(count)]

    def encode(self, maps: Maps, valid_maps: Maps, positions: Maps, masks: Tensor | None = None) -> Tensor:
        """Encoded cells.

        Args:
            maps, positions: per level ``[B,h,w,units]``.
            valid_maps: per level bool ``[B,h,w]``.

        Returns:
            ``[B,S,units]`` and their ``FeatureLevels``.
        """
        embeds = tf.unstack(tf.cast(self.level_embeds, positions[0].dtype))
        positions = flatten_cells([p + embed for p, embed in zip(positions, embeds, strict=True)])
        levels = FeatureLevels(level_shapes(maps), flatten_cells(valid_maps))
        references = cell_centers(valid_maps)[:, :, None] * valid_ratios(valid_maps)[:, None]
        given = Given({"query_pos": positions, "references": references, "levels": levels})
        return self.encoder(flatten_cells(maps), given=given, masks=masks), levels

    def cell_proposals(self, memory: Tensor, valid_maps: Maps, levels: Any) -> tuple[Any, Tensor]:
        """The encoder's cells as queries.

        Returns:
            Maps ``[B,S,units]`` and boxes ``[B,S,4]`` before their sigmoid, infinite where the cell is
            in the padding or near the border of the image.
        """
        centers, shapes = cell_centers(valid_maps), level_shapes(valid_maps)
        sides = tf.concat([tf.fill([h * w, 2], 0.05 * 2.0**i) for i, (h, w) in enumerate(shapes)], 0)
        boxes = tf.concat([centers, tf.broadcast_to(sides, tf.shape(centers))], -1)
        inside = tf.reduce_all((boxes > 0.01) & (boxes < 0.99), -1) & levels.valid
        inside = inside[..., None]
        boxes = tf.where(inside, boxes, 0.5)
        boxes = tf.where(inside, tf.math.log(boxes / (1.0 - boxes)), math.inf)
        memory = tf.where(inside, memory, tf.zeros([], memory.dtype))
        return self.enc_output_norm(self.enc_output(memory)), boxes


@register
class DeformableTransformer(DeformableEncoding):
    """Encoder and decoder of Deformable DETR; the head leads from one to the other.

    Args:
        units, num_heads, num_levels, num_points, ffn_units: of all layers.
        encoder_layers, decoder_layers: their numbers.
        dropout: rate.
        two_stage: queries are made from the encoder's best cells.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        ffn_units: int = 1024,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.1,
        two_stage: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, num_heads, num_levels, num_points, ffn_units, encoder_layers, dropout, two_stage, **kwargs
        )
        self.decoder = DeformableDecoder(self.make_decoder_layers(decoder_layers))
        if two_stage:
            self.pos_trans, self.pos_trans_norm = Linear(2 * units), LayerNorm()
        else:
            self.reference_points = Linear(2)

    def queries_from(self, boxes: Tensor) -> tuple[Any, Any]:
        """Query features and positions ``[B,Q,units]`` for boxes ``[B,Q,4]`` in 0..1."""
        waves = sine_encoding(boxes, self.units // 2)
        position, query = tf.split(self.pos_trans_norm(self.pos_trans(waves)), 2, axis=-1)
        return query, position
