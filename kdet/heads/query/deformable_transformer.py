"""The transformer of Deformable DETR (Zhu et al., 2021)."""

import math
from collections.abc import Sequence
from typing import Any

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
    interleaved_waves,
    wavelengths,
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
    of (state, references) that gives better boxes for the next layer, or None -> states
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
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        states, boxes = [], []
        among = {"query_pos": query_pos, "key_pos": query_pos}
        for i, layer in enumerate(self.layers):
            scale = tf.tile(ratios, [1, 1, references.shape[-1] // 2])
            places = references[:, :, None] * scale[:, None]  # [B, Q, levels, 2 or 4]
            across = {"value": memory, "query_pos": query_pos, "references": places, "levels": levels}
            x = layer(x, given=Given(among, across), masks=masks)
            states.append(x)
            boxes.append(references if refine is None else refine[i](x, references))
            if refine is not None:
                references = tf.stop_gradient(boxes[-1])
        return tf.stack(states), tf.stack(boxes)


@register
class DeformableTransformer(Composite):
    """Encoder over all cells of all levels, and the decoder; the head leads from one to the other.

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
        super().__init__(autocast=False, **kwargs)

        def sampling() -> DeformableAttention:
            return DeformableAttention(units, num_heads, num_levels, num_points, dropout)

        def layer(attentions: list[keras.Layer]) -> TransformerLayer:
            return TransformerLayer(attentions, ffn_units, units, dropout)

        self.units = units
        self.encoder = TransformerEncoder([layer([sampling()]) for _ in range(encoder_layers)])
        self.decoder = DeformableDecoder(
            [
                layer([MultiheadAttention(units, num_heads, dropout), sampling()])
                for _ in range(decoder_layers)
            ]
        )
        self.level_embeds = self.add_weight(
            name="level_embeds",
            shape=(num_levels, units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        if two_stage:
            self.enc_output, self.enc_output_norm = Linear(units), LayerNorm()
            self.pos_trans, self.pos_trans_norm = Linear(2 * units), LayerNorm()
        else:
            self.reference_points = Linear(2)

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

    def queries_from(self, boxes: Tensor) -> tuple[Any, Any]:
        """Query features and positions ``[B,Q,units]`` for boxes ``[B,Q,4]`` in 0..1."""
        angles = boxes[..., None] * (2.0 * math.pi) / wavelengths(self.units // 2)
        waves = interleaved_waves(angles)  # [B, Q, 4, units/2]
        waves = tf.reshape(waves, [*tf.unstack(tf.shape(boxes)[:2]), 2 * self.units])
        position, query = tf.split(self.pos_trans_norm(self.pos_trans(waves)), 2, axis=-1)
        return query, position
