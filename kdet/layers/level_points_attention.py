"""Deformable attention with a number of points of every level (Lv et al., 2024, arXiv:2407.17140)."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.layers.attention import add
from kdet.layers.composite import Composite
from kdet.layers.linear import Linear
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Tensor


@register
class LevelPointsAttention(NoXla, Composite):
    """Samples of several maps, so many of each, weighed together (RT-DETRv2, D-FINE).

    Args:
        units: channels of query, value and result.
        num_heads: heads, a divisor of ``units``.
        points: samples per head and query of every level.
        method: "default" interpolates; "discrete" takes the nearest cell, the border's beyond it.
        projected: whether value and result have dense layers; without them (D-FINE) the value is taken as it
            is.
        scale_name: what the checkpoint calls the table of ``1 / points``.

    Call: as ``DeformableAttention``, with ``references [B,Q,1,4]``.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        points: Sequence[int] = (4, 4, 4),
        method: Literal["default", "discrete"] = "default",
        projected: bool = True,
        scale_name: str = "n_points_scale",
        **kwargs: Any,
    ) -> None:
        # places must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.units, self.num_heads, self.points = units, num_heads, tuple(points)
        self.method, self.scale_name = method, scale_name
        samples = num_heads * sum(points)
        grid = keras.initializers.Constant(self.first_offsets())
        self.sampling_offsets = Linear(2 * samples, kernel_initializer="zeros", bias_initializer=grid)
        self.attention_weights = Linear(samples, kernel_initializer="zeros")
        self.value_proj = Linear(units) if projected else None
        self.output_proj = Linear(units) if projected else None
        shares = np.repeat([1.0 / n for n in self.points], self.points)
        self.points_scale = self.add_weight(
            name="points_scale",
            shape=(sum(points),),
            initializer=keras.initializers.Constant(shares),
            trainable=False,
        )

    @property
    def torch_names(self) -> dict[str, str]:
        return {"points_scale": self.scale_name}

    def first_offsets(self) -> Any:
        """Starting offsets: every head looks along its own direction, point ``k`` of a level ``k`` steps."""
        angles = np.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        directions = np.stack([np.cos(angles), np.sin(angles)], -1)
        directions /= np.abs(directions).max(-1, keepdims=True)
        steps = np.concatenate([np.arange(1, n + 1) for n in self.points])
        return (directions[:, None, :] * steps[None, :, None]).astype("float32").ravel()

    def call(
        self,
        query: Tensor,
        value: Tensor,
        query_pos: Tensor | None = None,
        references: Any = None,
        levels: Any = None,
    ) -> Tensor:
        value = value if self.value_proj is None else self.value_proj(value)
        batch, cells = tf.unstack(tf.shape(value)[:2])
        value = tf.reshape(value, [batch, cells, self.num_heads, self.units // self.num_heads])
        query = add(query, query_pos)
        shape = [batch, tf.shape(query)[1], self.num_heads, sum(self.points)]
        weights = tf.cast(self.attention_weights(query), tf.float32)
        weights = tf.nn.softmax(tf.reshape(weights, shape))
        offsets = tf.reshape(tf.cast(self.sampling_offsets(query), tf.float32), [*shape, 2])
        offsets *= tf.convert_to_tensor(self.points_scale)[:, None] * 0.5 * references[..., None, :, 2:]
        places = references[..., None, :, :2] + offsets  # [B, Q, heads, points, 2]
        x = self.sample(value, places, weights, levels.shapes)
        return x if self.output_proj is None else self.output_proj(x)

    def sample(self, value: Tensor, places: Tensor, weights: Tensor, shapes: Any) -> Tensor:
        """Weighted sums ``[B,Q,units]`` of the samples at ``places`` of all levels."""
        if self.method == "default" and len(set(self.points)) == 1:
            split = [*tf.unstack(tf.shape(weights)[:3]), len(self.points), self.points[0]]
            return ops.ms_deform_attn(
                value, shapes, tf.reshape(places, [*split, 2]), tf.reshape(weights, split)
            )
        sampler = ops.ms_deform_attn if self.method == "default" else nearest_cells
        parts = zip(
            tf.split(value, [height * width for height, width in shapes], 1),
            shapes,
            tf.split(places, self.points, 3),
            tf.split(weights, self.points, 3),
            strict=True,
        )
        return tf.add_n([sampler(v, [s], p[:, :, :, None], w[:, :, :, None]) for v, s, p, w in parts])


def nearest_cells(value: Tensor, shapes: Any, places: Tensor, weights: Tensor) -> Tensor:
    """As ``ops.ms_deform_attn`` of one level, with the cell that a place lies in, or the nearest.

    Args:
        value: ``[B,S,heads,D]``.
        shapes: ``[(h, w)]``.
        places, weights: ``[B,Q,heads,1,points,2]`` and ``[B,Q,heads,1,points]``.
    """
    ((height, width),) = shapes
    places, weights = places[:, :, :, 0], weights[:, :, :, 0]
    x, y = (
        tf.clip_by_value(tf.cast(places[..., i] * tf.cast(n, tf.float32) + 0.5, tf.int32), 0, n - 1)
        for i, n in enumerate((width, height))
    )
    rows = tf.transpose(y * width + x, [0, 2, 1, 3])  # [B, heads, Q, points]
    seen = tf.gather(tf.transpose(value, [0, 2, 1, 3]), rows, batch_dims=2)  # [B, heads, Q, points, D]
    weights = tf.cast(tf.transpose(weights, [0, 2, 1, 3]), value.dtype)
    total = tf.transpose(tf.reduce_sum(seen * weights[..., None], 3), [0, 2, 1, 3])  # [B, Q, heads, D]
    batch, queries = tf.unstack(tf.shape(total)[:2])
    return tf.reshape(total, [batch, queries, value.shape[2] * value.shape[3]])
