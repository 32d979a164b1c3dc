"""Attention: between all pairs, and to a few sampled places of feature maps."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.layers.base import Layer
from kdet.layers.composite import Composite
from kdet.layers.dropout import DropoutMasks, dropout
from kdet.layers.linear import Linear, project
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Pair, Tensor


def add(x: Tensor, position: Tensor | None) -> Tensor:
    """``x`` plus a position encoding, where there is one."""
    return x if position is None else x + tf.cast(position, x.dtype)


@register
class DotProductAttention(Layer):
    """Scaled dot-product attention with one kernel for query, key and value (Vaswani et al., 2017).

    Args:
        units: channels of query, key, value and result.
        num_heads: heads, a divisor of ``units``.
        dropout: rate, on the attention weights.
    """

    torch_tensors = {"in_proj_weight": ("in_proj_kernel", "linear"), "in_proj_bias": ("in_proj_bias", None)}

    def __init__(self, units: int, num_heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.num_heads, self.dropout = units, num_heads, dropout
        self.out_proj = Linear(units)

    def build(self, *input_shapes: Any) -> None:
        self.in_proj_kernel = self.add_weight(
            name="in_proj_kernel", shape=(self.units, 3 * self.units), initializer="glorot_uniform"
        )
        self.in_proj_bias = self.add_weight(name="in_proj_bias", shape=(3 * self.units,), initializer="zeros")

    def call(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_valid: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> Tensor:
        kernels = tf.split(tf.convert_to_tensor(self.in_proj_kernel), 3, axis=1)
        biases = tf.split(tf.convert_to_tensor(self.in_proj_bias), 3)
        query, key, value = (
            project(x, kernel, bias) for x, kernel, bias in zip((query, key, value), kernels, biases)
        )
        return self.out_proj(attend(query, key, value, self.num_heads, key_valid, self.dropout, masks))


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """``[B,N,C] -> [B,heads,N,C/heads]``."""
    batch, count = tf.unstack(tf.shape(x)[:2])
    return tf.transpose(tf.reshape(x, [batch, count, num_heads, x.shape[-1] // num_heads]), [0, 2, 1, 3])


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    key_valid: Tensor | None = None,
    rate: float = 0.0,
    masks: DropoutMasks | None = None,
) -> Tensor:
    """Scaled dot-product attention of what was projected before.

    Args:
        query, key: ``[B,Q,C]`` and ``[B,K,C]``.
        value: ``[B,K,V]``.
        num_heads: heads, a divisor of ``C`` and ``V``.
        key_valid: bool ``[B,K]``, or ``[B,Q,K]`` of every query; None for all.
        rate, masks: of the dropout on the attention weights.

    Returns:
        ``[B,Q,V]``.
    """
    scale, width = 1.0 / math.sqrt(query.shape[-1] // num_heads), value.shape[-1]
    query, key, value = (split_heads(x, num_heads) for x in (query, key, value))
    logits = tf.matmul(query * scale, key, transpose_b=True)  # [B, heads, Q, K]
    if key_valid is not None:
        allowed = key_valid[:, None, None, :] if key_valid.shape.rank == 2 else key_valid[:, None]
        logits = tf.where(allowed, logits, logits.dtype.min)
    weights = dropout(tf.nn.softmax(logits), rate, masks)
    attended = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])  # [B, Q, heads, D]
    return tf.reshape(attended, [*tf.unstack(tf.shape(attended)[:2]), width])


@register
class MultiheadAttention(Composite):
    """Attention with position encodings on query and key, dropout on weights and result.

    Args:
        units: channels of everything.
        num_heads: heads, a divisor of ``units``.
        dropout: rate.

    Call: ``query [B,Q,units]``, ``key``, ``value [B,K,units]`` (the query where None), their positions,
    ``key_valid`` bool ``[B,K]`` (or ``[B,Q,K]``, of every query), ``masks`` (``DropoutMasks`` or None) ->
    ``[B,Q,units]``, without the residual.
    """

    def __init__(self, units: int = 256, num_heads: int = 8, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.attn = DotProductAttention(units, num_heads, dropout)

    def call(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        key_valid: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> Tensor:
        key = query if key is None else key
        value = key if value is None else value
        x = self.attn(add(query, query_pos), add(key, key_pos), value, key_valid=key_valid, masks=masks)
        return dropout(x, self.dropout, masks)


class FeatureLevels:
    """Maps of several sizes laid out one after the other, as deformable attention takes them.

    Args:
        shapes: ``[(h, w), ...]``.
        valid: bool ``[B,S]``, false in the padding of the images; None where there is none.
    """

    def __init__(self, shapes: Sequence[Pair], valid: Tensor | None = None) -> None:
        self.shapes, self.valid = shapes, valid


@register
class DeformableAttention(NoXla, Composite):
    """Multi-scale deformable attention (Zhu et al., 2021).

    Args:
        units: channels of query, value and result.
        num_heads: heads, a divisor of ``units``.
        dropout: rate, on the result.
        num_levels, num_points: maps, and samples per map, head and query.

    Call: ``query [B,Q,units]``, ``value [B,S,units]`` (the query where None), ``query_pos``,
    ``references [B,Q,levels or 1,2 or 4]`` (cx, cy and perhaps w, h; 0..1 of the maps), ``levels``
    (``FeatureLevels``), ``masks`` -> ``[B,Q,units]``, without the residual.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        # places must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.units, self.num_heads, self.dropout = units, num_heads, dropout
        self.num_levels, self.num_points = num_levels, num_points
        samples = num_heads * num_levels * num_points
        grid = keras.initializers.Constant(self.first_offsets())
        self.sampling_offsets = Linear(2 * samples, kernel_initializer="zeros", bias_initializer=grid)
        self.attention_weights = Linear(samples, kernel_initializer="zeros")
        self.value_proj = Linear(units)
        self.output_proj = Linear(units)

    def first_offsets(self) -> Tensor:
        """Starting offsets: every head looks along its own direction, point ``k`` ``k`` pixels away."""
        angles = np.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        directions = np.stack([np.cos(angles), np.sin(angles)], -1)
        directions /= np.abs(directions).max(-1, keepdims=True)
        steps = np.arange(1, self.num_points + 1)[None, None, :, None]
        grid = directions[:, None, None, :] * steps  # [heads, 1, points, 2]
        return np.repeat(grid, self.num_levels, axis=1).astype("float32").ravel()

    def call(
        self,
        query: Tensor,
        value: Tensor | None = None,
        query_pos: Tensor | None = None,
        references: Any = None,
        levels: Any = None,
        masks: DropoutMasks | None = None,
    ) -> Tensor:
        value = self.value_proj(query if value is None else value)
        if levels.valid is not None:
            value = tf.where(levels.valid[..., None], value, tf.zeros([], value.dtype))
        batch, pixels = tf.unstack(tf.shape(value)[:2])
        value = tf.reshape(value, [batch, pixels, self.num_heads, self.units // self.num_heads])
        query = add(query, query_pos)
        shape = [batch, tf.shape(query)[1], self.num_heads, self.num_levels, self.num_points]
        weights = tf.cast(self.attention_weights(query), tf.float32)
        weights = tf.nn.softmax(tf.reshape(weights, [*shape[:3], self.num_levels * self.num_points]))
        offsets = tf.reshape(tf.cast(self.sampling_offsets(query), tf.float32), [*shape, 2])
        centers = references[:, :, None, :, None, :2]
        if references.shape[-1] == 2:
            sizes = tf.stack([tf.stack([w, h]) for h, w in levels.shapes])
            offsets /= tf.cast(sizes, tf.float32)[:, None, :]
        else:
            offsets *= references[:, :, None, :, None, 2:] * (0.5 / self.num_points)
        x = ops.ms_deform_attn(value, levels.shapes, centers + offsets, tf.reshape(weights, shape))
        return dropout(self.output_proj(x), self.dropout, masks)
