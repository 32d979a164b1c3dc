"""Attention whose contents and places are projected apart (Meng et al., 2021, arXiv:2108.06152)."""

from typing import Any

import tensorflow as tf

from kdet.layers.attention import attend
from kdet.layers.composite import Composite
from kdet.layers.dropout import DropoutMasks
from kdet.layers.linear import Linear
from kdet.registry import register
from kdet.typing import Tensor


@register
class ConditionalAttention(Composite):
    """Attention of queries to each other or, with ``waves``, to cells.

    Among themselves, contents and places of the queries are added. Across, every head compares contents with
    contents and ``waves`` of the queries with the places of the cells, side by side.

    Args:
        units: channels of everything.
        num_heads: heads, a divisor of ``units``.
        dropout: rate, on the attention weights.
        across: the keys are cells.
        with_positions: positions are added to the contents; across, only in the first layer of a decoder.

    Call: ``query``, ``query_pos``, ``waves [B,Q,units]``, ``key``, ``key_pos [B,K,units]`` (those of the
    query where None), ``key_valid`` bool ``[B,K]``, ``masks`` -> ``[B,Q,units]``, without the residual.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        dropout: float = 0.0,
        across: bool = False,
        with_positions: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.dropout = num_heads, dropout
        self.across, self.with_positions = across, with_positions
        self.qcontent_proj, self.kcontent_proj, self.v_proj = (Linear(units) for _ in range(3))
        self.kpos_proj, self.out_proj = Linear(units), Linear(units)
        if with_positions:
            self.qpos_proj = Linear(units)
        if across:
            self.qpos_sine_proj = Linear(units)

    def call(
        self,
        query: Tensor,
        query_pos: Tensor | None = None,
        waves: Tensor | None = None,
        key: Tensor | None = None,
        key_pos: Tensor | None = None,
        key_valid: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> Tensor:
        key, key_pos = (query, query_pos) if key is None else (key, key_pos)
        value, places = self.v_proj(key), self.kpos_proj(key_pos)
        query, key = self.qcontent_proj(query), self.kcontent_proj(key)
        if self.with_positions:
            query, key = query + self.qpos_proj(query_pos), key + places
        if self.across:
            query, key = self.beside(query, self.qpos_sine_proj(waves)), self.beside(key, places)
        return self.out_proj(attend(query, key, value, self.num_heads, key_valid, self.dropout, masks))

    def beside(self, contents: Tensor, places: Tensor) -> Tensor:
        """``[B,N,2*units]``: of every head its contents, then its places."""
        batch, count = tf.unstack(tf.shape(contents)[:2])
        heads = [batch, count, self.num_heads, contents.shape[-1] // self.num_heads]
        pair = tf.concat([tf.reshape(contents, heads), tf.reshape(places, heads)], -1)
        return tf.reshape(pair, [batch, count, 2 * contents.shape[-1]])
