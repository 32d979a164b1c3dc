"""The decoder of D-FINE (Peng et al., 2024, arXiv:2410.13842)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kdet import geometry
from kdet.heads.query.deformable_detr import move
from kdet.heads.query.rtdetr_decoder import RTDETRDecoder, RTDETRDecoderLayer
from kdet.layers import MLP, Composite, FeatureLevels, LayerNorm, LevelPointsAttention, Linear
from kdet.registry import register
from kdet.typing import Tensor

_LARGEST = 65504.0  # of float16, in which the reference trains


class Gate(Composite):
    """Two maps weighed by what both say, summed and normalized.

    Call: ``[...,units], [...,units] -> [...,units]``.
    """

    def __init__(self, units: int, norm: Any = LayerNorm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate, self.norm = Linear(2 * units, kernel_initializer="zeros"), norm()

    def call(self, one: Tensor, other: Tensor) -> Tensor:
        first, second = tf.split(tf.sigmoid(self.gate(tf.concat([one, other], -1))), 2, -1)
        return self.norm(first * one + second * other)


class DFineDecoderLayer(RTDETRDecoderLayer):
    """RT-DETR's layer whose sampled features are let in by a gate.

    Args:
        see ``RTDETRDecoderLayer``.
    """

    def __init__(self, units: int, num_heads: int, ffn_units: int, attention: Any, **kwargs: Any) -> None:
        super().__init__(units, num_heads, ffn_units, attention, **kwargs)
        del self.encoder_attn_layer_norm
        self.gateway = Gate(units)
        self.mlp = MLP(units, ffn_units)

    def merge(self, x: Tensor, seen: Tensor) -> Tensor:
        return self.gateway(x, seen)

    def last(self, x: Tensor) -> Tensor:
        return self.final_layer_norm(tf.clip_by_value(x + self.mlp(x), -_LARGEST, _LARGEST))


class QualityEstimator(Composite):
    """How sure a distribution of edges is, as a term of the class scores (LQE).

    Args:
        top: so many of the largest probabilities of every edge are looked at.
        units, num_layers: of the dense layers.

    Call: probabilities ``[B,Q,4,bins+1]`` -> ``[B,Q,1]``.
    """

    def __init__(self, top: int = 4, units: int = 64, num_layers: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.top = top
        self.reg_conf = MLP(1, units, num_layers, last_kernel="zeros")

    def call(self, probabilities: Tensor) -> Tensor:
        best = tf.math.top_k(probabilities, self.top).values
        found = tf.concat([best, tf.reduce_mean(best, -1, keepdims=True)], -1)
        batch, queries = tf.unstack(tf.shape(found)[:2])
        return self.reg_conf(tf.reshape(found, [batch, queries, 4 * (self.top + 1)]))


def bin_places(bins: int, up: Tensor, reg_scale: Tensor) -> Tensor:
    """The distances that the bins of a distribution stand for: float32 ``[bins+1]``.

    Dense around 0 and wide at the ends, which are ``2 * up * reg_scale`` away.
    """
    end = tf.abs(up) * tf.abs(reg_scale)
    step = tf.pow(end + 1.0, 2.0 / (bins - 2))
    right = tf.pow(step, np.arange(1, bins // 2, dtype=np.float32)) - 1.0
    end = tf.reshape(2.0 * end, [1])
    return tf.concat([-end, -right[::-1], [0.0], right, end], 0)


def boxes_of(frames: Tensor, distances: Tensor, reg_scale: Tensor) -> Tensor:
    """Boxes (cx, cy, w, h) whose edges lie so far from a frame's, in shares of its size / ``reg_scale``.

    Args:
        frames: ``[...,4]`` (cx, cy, w, h).
        distances: ``[...,4]`` of the left, top, right and bottom edge, outwards.
    """
    center, unit = frames[..., :2], frames[..., 2:] / reg_scale
    half = 0.5 * reg_scale
    first = center - (half + distances[..., :2]) * unit
    last = center + (half + distances[..., 2:]) * unit
    return geometry.to_center_size(tf.concat([first, last], -1))


class DistributionOutputs(NamedTuple):
    """As ``LayerOutputs``; the first layer's plain boxes stand first in ``logits`` and ``boxes``.

    Attributes:
        states: ``[B,Q,units]``, per layer.
        logits, boxes: ``[B,Q,C]`` and float32 ``[B,Q,4]``: plain ones, then per layer.
        edges: float32 ``[B,Q,4*(bins+1)]``, logits of the distributions, per layer.
        frames: float32 ``[B,Q,4]``, what they are distances from, per layer.
    """

    states: list[Tensor]
    logits: list[Tensor]
    boxes: list[Tensor]
    edges: list[Tensor]
    frames: list[Tensor]


@register
class DFineDecoder(RTDETRDecoder):
    """Decoder that refines distributions of the boxes' edges, layer by layer.

    The first layer gives plain boxes too, the frames of all distributions.

    Args:
        points: samples per head and query, of every level.
        bins: of the distributions, less one.
        up, reg_scale: how far and how curved the bins' distances are; both stand in checkpoints.
        other arguments: see ``RTDETRDecoder``.

    Call: as ``RTDETRDecoder`` -> ``DistributionOutputs``.
    """

    def __init__(
        self,
        points: Sequence[int] = (4, 4, 4),
        bins: int = 32,
        up: float = 0.5,
        reg_scale: float = 4.0,
        **kwargs: Any,
    ) -> None:
        self.points, self.bins = tuple(points), bins
        super().__init__(**kwargs)
        count = len(self.layers)
        self.up = self.constant("up", up)
        self.reg_scale = self.constant("reg_scale", reg_scale)
        self.pre_bbox_head = MLP(4, self.units, 3, last_kernel="zeros")
        self.bbox_embed = self.make_edges(count)
        self.lqe_layers = [QualityEstimator() for _ in range(count)]

    def constant(self, name: str, value: float) -> keras.Variable:
        """A number that checkpoints hold and nothing trains."""
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=(1,), initializer=initializer, trainable=False)

    def make_layer(self) -> RTDETRDecoderLayer:
        return DFineDecoderLayer(self.units, self.num_heads, self.ffn_units, self.make_sampling())

    def make_sampling(self) -> LevelPointsAttention:
        return LevelPointsAttention(
            self.units, self.num_heads, self.points, projected=False, scale_name="num_points_scale"
        )

    def make_edges(self, count: int) -> list[MLP]:
        """The layers' dense layers for the distributions."""
        return [MLP(4 * (self.bins + 1), self.units, 3, last_kernel="zeros") for _ in range(count)]

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        references: Tensor,
        levels: FeatureLevels | None = None,
        visible: Tensor | None = None,
    ) -> DistributionOutputs:
        found = DistributionOutputs([], [], [], [], [])
        reg_scale = tf.convert_to_tensor(self.reg_scale)
        distances = bin_places(self.bins, self.up, reg_scale)
        places = frames = tf.sigmoid(references)
        before, edges = tf.zeros([], x.dtype), tf.zeros([])
        for i, layer in enumerate(self.layers):
            position = self.query_pos_head(tf.cast(places, x.dtype))
            position = tf.clip_by_value(position, -10.0, 10.0)
            x = layer(x, memory, position, places, levels=levels, visible=visible)
            logits = self.class_embed[i](x)
            if i == 0:
                found.logits.append(logits)
                found.boxes.append(move(places, self.pre_bbox_head(x)))
                frames = tf.stop_gradient(found.boxes[0])
            edges += tf.cast(self.bbox_embed[i](x + before), tf.float32)
            batch, queries = tf.unstack(tf.shape(x)[:2])
            share = tf.nn.softmax(tf.reshape(edges, [batch, queries, 4, self.bins + 1]))
            boxes = boxes_of(frames, tf.linalg.matvec(share, distances), reg_scale)
            found.states.append(x)
            found.logits.append(logits + self.lqe_layers[i](tf.cast(share, x.dtype)))
            found.boxes.append(boxes)
            found.edges.append(edges)
            found.frames.append(frames)
            places, before = tf.stop_gradient(boxes), tf.stop_gradient(x)
        return found
