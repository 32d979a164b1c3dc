"""DETR (Carion et al., 2020)."""

from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo
from kdet.heads.query.base import QueryHead, valid_cells
from kdet.layers import (
    FFN,
    Composite,
    Conv2D,
    Embedding,
    Given,
    Linear,
    MultiheadAttention,
    TransformerDecoder,
    TransformerEncoder,
    TransformerLayer,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class DETRTransformer(Composite):
    """Encoder over the cells of one map, decoder of queries that look at it.

    Args:
        units, num_heads, ffn_units: of all layers.
        encoder_layers, decoder_layers: their numbers.
        dropout: rate.

    Call: ``x [B,N,units]``, its ``position [B,N,units]``, ``valid`` bool ``[B,N]``, ``queries
    [B,Q,units]``, ``masks`` -> decoder states ``[layers,B,Q,units]``.
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
        super().__init__(**kwargs)

        def layer(count: int) -> TransformerLayer:
            attentions = [MultiheadAttention(units, num_heads, dropout) for _ in range(count)]
            return TransformerLayer(attentions, ffn_units, units, dropout)

        self.encoder = TransformerEncoder([layer(1) for _ in range(encoder_layers)])
        self.decoder = TransformerDecoder([layer(2) for _ in range(decoder_layers)])

    def call(
        self, x: Tensor, position: Tensor, valid: Tensor, queries: Tensor, masks: Tensor | None = None
    ) -> Tensor:
        place = {"query_pos": position, "key_pos": position, "key_valid": valid}
        memory = self.encoder(x, given=Given(place), masks=masks)
        among = {"query_pos": queries, "key_pos": queries}
        across = {"key": memory, "query_pos": queries, "key_pos": position, "key_valid": valid}
        return self.decoder(tf.zeros_like(queries), given=Given(among, across), masks=masks)


@register
class DETRHead(QueryHead):
    """Transformer on the coarsest map; one dense layer for classes, three for boxes.

    Args:
        num_queries: rows of the learned table of queries.
        units: channels of the transformer.
        other arguments: see ``QueryHead``.

    Outputs: ``(logits [L,B,Q,classes+1], boxes [L,B,Q,4])``.
    """

    def __init__(self, num_queries: int = 100, units: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_proj = Conv2D(units, 1)
        self.fc_cls = Linear(self.num_classes + 1)
        self.reg_ffn = FFN(units, units)
        self.fc_reg = Linear(4)
        self.query_embedding = Embedding(num_queries, units)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, Tensor]:
        x = self.input_proj(features[-1])
        valid = valid_cells(x, info)
        batch, cells, units = tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], x.shape[-1]
        states = self.transformer(
            tf.reshape(x, [batch, cells, units]),
            tf.reshape(self.position(valid), [batch, cells, units]),
            tf.reshape(valid, [batch, cells]),
            self.query_embedding(x),
            masks=self.dropout_masks(info, training),
        )
        boxes = self.fc_reg(tf.nn.relu(self.reg_ffn(states)))
        return self.fc_cls(states), tf.sigmoid(tf.cast(boxes, tf.float32))
