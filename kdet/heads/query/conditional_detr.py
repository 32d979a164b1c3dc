"""Conditional DETR (Meng et al., 2021, arXiv:2108.06152)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.base import QueryHead, valid_cells
from kdet.heads.query.deformable_detr import inverse_sigmoid
from kdet.layers import (
    FFN,
    MLP,
    Composite,
    ConditionalAttention,
    DropoutMasks,
    Embedding,
    Given,
    LayerNorm,
    Linear,
    MultiheadAttention,
    NamedTransformerLayer,
    TransformerEncoder,
    sine_encoding,
)
from kdet.registry import register
from kdet.typing import Activation, Maps, Tensor


def conditional_layers(
    count: int, units: int, num_heads: int, ffn_units: int, rate: float, activation: Activation = "relu"
) -> list[NamedTransformerLayer]:
    """Layers of a decoder; of their attentions to the cells only the first adds the queries' positions."""
    return [
        NamedTransformerLayer(
            [
                ConditionalAttention(units, num_heads, rate),
                ConditionalAttention(units, num_heads, rate, across=True, with_positions=i == 0),
            ],
            ffn_units,
            units,
            rate,
            activation,
        )
        for i in range(count)
    ]


def encoder_layers_of(
    count: int, units: int, num_heads: int, ffn_units: int, rate: float, activation: Activation = "relu"
) -> list[NamedTransformerLayer]:
    """Layers of an encoder, whose cells attend to one another."""
    return [
        NamedTransformerLayer(
            [MultiheadAttention(units, num_heads, rate)], ffn_units, units, rate, activation
        )
        for _ in range(count)
    ]


def waves_of(references: Tensor, units: int) -> Tensor:
    """Sine encoding, ``units / 2`` numbers each, of (y, x) or (y, x, w, h) of ``references [B,Q,2 or 4]``."""
    order = [1, 0, 2, 3][: references.shape[-1]]
    return sine_encoding(tf.gather(references, order, axis=-1), units // 2)


@register
class ConditionalDecoder(TransformerEncoder):
    """Decoder that looks around a point of every query.

    Args:
        layers: list of ``TransformerLayer``.
        units: channels.

    Call: ``query_pos [B,Q,units]``, ``cells`` (keyword arguments of the attention to them), ``masks`` ->
    states ``[layers,B,Q,units]`` and the points ``[B,Q,2]`` in 0..1 of the image.
    """

    def __init__(self, layers: Sequence[Any], units: int = 256, **kwargs: Any) -> None:
        super().__init__(layers=layers, autocast=False, **kwargs)
        self.units = units
        self.post_norm = LayerNorm()
        self.query_scale, self.ref_point_head = MLP(units, units), MLP(2, units)

    def call(
        self, query_pos: Tensor, cells: Any = None, masks: DropoutMasks | None = None
    ) -> tuple[Tensor, Tensor]:
        (across,) = cells.arguments
        points = tf.sigmoid(tf.cast(self.ref_point_head(query_pos), tf.float32))
        waves = tf.cast(waves_of(points, self.units), query_pos.dtype)
        x, states = tf.zeros_like(query_pos), []
        for i, layer in enumerate(self.layers):
            scaled = waves * self.query_scale(x) if i else waves
            given = Given({"query_pos": query_pos}, {**across, "query_pos": query_pos, "waves": scaled})
            x = layer(x, given=given, masks=masks)
            states.append(self.post_norm(x))
        return tf.stack(states), points


@register
class ConditionalTransformer(Composite):
    """Encoder over the cells of one map, and ``ConditionalDecoder``.

    Args:
        units, num_heads, ffn_units: of all layers.
        encoder_layers, decoder_layers: their numbers.
        dropout: rate.

    Call: ``x``, its ``position [B,N,units]``, ``valid`` bool ``[B,N]``, ``queries [B,Q,units]``, ``masks`` ->
    states ``[layers,B,Q,units]`` and the points ``[B,Q,2]`` of the queries.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.encoder = TransformerEncoder(
            encoder_layers_of(encoder_layers, units, num_heads, ffn_units, dropout)
        )
        layers = conditional_layers(decoder_layers, units, num_heads, ffn_units, dropout)
        self.decoder = ConditionalDecoder(layers, units)

    def call(
        self,
        x: Tensor,
        position: Tensor,
        valid: Tensor,
        queries: Tensor,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, Tensor]:
        place = {"query_pos": position, "key_pos": position, "key_valid": valid}
        memory = self.encoder(x, given=Given(place), masks=masks)
        cells = Given({"key": memory, "key_pos": position, "key_valid": valid})
        return self.decoder(queries, cells=cells, masks=masks)


class ConditionalHead(QueryHead):
    """What the heads on conditional decoders share: one map, a learned table, one classifier.

    Args:
        num_queries: rows of the learned table of queries.
        query_units: its columns.
        other arguments: see ``QueryHead``.
    """

    torch_name = ""
    torch_names = {
        "transformer": "",
        "fc_cls": "bbox_head.fc_cls",
        "reg_ffn": "bbox_head.reg_ffn",
        "fc_reg": "bbox_head.fc_reg",
    }

    def __init__(self, num_queries: int, query_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fc_cls = Linear(self.num_classes, bias_initializer=prior_bias())
        self.query_embedding = Embedding(num_queries, query_units)

    def cells(self, features: Maps, info: ImageInfo) -> tuple[Tensor, Tensor, Tensor]:
        """Cells ``[B,N,units]`` of the coarsest map, their positions, and which lie in the image."""
        x = features[-1]
        valid = valid_cells(x, info)
        batch, count = tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2]
        position = tf.cast(self.position(valid), x.dtype)
        rows = [batch, count, x.shape[-1]]
        return tf.reshape(x, rows), tf.reshape(position, rows), tf.reshape(valid, [batch, count])


@register
class ConditionalDETRHead(ConditionalHead):
    """Boxes around a point of every query, which all decoder layers share.

    Args:
        num_queries: rows of the learned table of queries.
        other arguments: see ``QueryHead``.

    Outputs: ``(logits [L,B,Q,C], boxes [L,B,Q,4])``.
    """

    def __init__(self, num_queries: int = 300, **kwargs: Any) -> None:
        units = kwargs["transformer"].units
        super().__init__(num_queries=num_queries, query_units=units, **kwargs)
        self.reg_ffn = FFN(units, units)
        self.fc_reg = Linear(4)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Tensor, Tensor]:
        cells = self.cells(features, info)
        queries = self.query_embedding(cells[0])
        states, points = self.transformer(*cells, queries, masks=self.dropout_masks(info, training))
        moves = tf.cast(self.fc_reg(tf.nn.relu(self.reg_ffn(states))), tf.float32)
        start = tf.pad(inverse_sigmoid(points), [[0, 0], [0, 0], [0, 2]])
        return self.fc_cls(states), tf.sigmoid(moves + start)
