"""The decoder of RT-DETR (Zhao et al., 2023, arXiv:2304.08069)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.deformable_detr import move
from kdet.layers import (
    MLP,
    Composite,
    DeformableAttention,
    FeatureLevels,
    LayerNorm,
    LevelPointsAttention,
    Linear,
    ProjectedAttention,
    TwoLayers,
)
from kdet.registry import register
from kdet.typing import Tensor


class LayerOutputs(NamedTuple):
    """What the layers of a decoder say of all queries; a list per layer.

    Attributes:
        states: ``[B,Q,units]``.
        logits: ``[B,Q,C]``.
        boxes: float32 ``[B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
    """

    states: list[Tensor]
    logits: list[Tensor]
    boxes: list[Tensor]


class RTDETRDecoderLayer(Composite):
    """Queries look at each other, then at sampled places, then at themselves.

    Args:
        units, num_heads, ffn_units: of the layer.
        attention: the sampling attention.

    Call: ``x [B,Q,units]``, ``memory [B,S,units]``, ``position [B,Q,units]``, ``references [B,Q,4]``,
    ``levels``, ``visible`` -> ``[B,Q,units]``.
    """

    def __init__(self, units: int, num_heads: int, ffn_units: int, attention: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.self_attn = ProjectedAttention(units, num_heads)
        self.self_attn_layer_norm: Any = LayerNorm()
        self.encoder_attn = attention
        self.encoder_attn_layer_norm: Any = LayerNorm()
        self.mlp: Any = TwoLayers(ffn_units, units)
        self.final_layer_norm: Any = LayerNorm()

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        position: Tensor,
        references: Tensor,
        levels: Any = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, position=position, visible=visible))
        return self.behind(x, memory, position, references, levels)

    def behind(self, x: Tensor, memory: Tensor, position: Tensor, references: Tensor, levels: Any) -> Tensor:
        """What follows when the queries have looked at each other; arguments as in a call."""
        seen = self.encoder_attn(
            x, value=memory, query_pos=position, references=references[:, :, None], levels=levels
        )
        return self.last(self.merge(x, seen))

    def merge(self, x: Tensor, seen: Tensor) -> Tensor:
        """The queries with what they saw."""
        return self.encoder_attn_layer_norm(x + seen)

    def last(self, x: Tensor) -> Tensor:
        """The queries behind the dense layers."""
        return self.final_layer_norm(x + self.mlp(x))


@register
class RTDETRDecoder(Composite):
    """Decoder layers, each of which moves the boxes of the one before.

    As in Transformers, no gradient goes from a layer's boxes to the layers before it.

    Args:
        num_classes: classes without background.
        units, num_heads, ffn_units: of the layers.
        num_layers: their number.
        num_levels, num_points: maps, and samples per map, head and query.

    Call: ``x [B,Q,units]``, ``memory [B,S,units]``, ``references`` (float32 ``[B,Q,4]``, logits of cx, cy, w
    and h), ``levels`` (``FeatureLevels``), ``visible`` (see ``ProjectedAttention``) -> ``LayerOutputs``.
    """

    def __init__(
        self,
        num_classes: int = 80,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 1024,
        num_layers: int = 6,
        num_levels: int = 3,
        num_points: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_classes, self.units, self.num_heads = num_classes, units, num_heads
        self.num_levels, self.num_points = num_levels, num_points
        self.ffn_units = ffn_units
        self.layers = [self.make_layer() for _ in range(num_layers)]
        self.query_pos_head = MLP(units, 2 * units)
        bias = prior_bias(1.0 / (num_classes + 1))
        self.class_embed = [Linear(num_classes, bias_initializer=bias) for _ in range(num_layers)]
        self.bbox_embed = [MLP(4, units, 3, last_kernel="zeros") for _ in range(num_layers)]

    def make_layer(self) -> RTDETRDecoderLayer:
        """A layer of the decoder."""
        return RTDETRDecoderLayer(self.units, self.num_heads, self.ffn_units, self.make_sampling())

    def make_sampling(self) -> Any:
        """The attention of a layer to the maps."""
        return DeformableAttention(self.units, self.num_heads, self.num_levels, self.num_points, 0.0)

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        references: Tensor,
        levels: FeatureLevels | None = None,
        visible: Tensor | None = None,
    ) -> LayerOutputs:
        found = LayerOutputs([], [], [])
        places = tf.sigmoid(references)
        for layer, classify, refine in zip(self.layers, self.class_embed, self.bbox_embed, strict=True):
            position = self.query_pos_head(tf.cast(places, x.dtype))
            x = layer(x, memory, position, places, levels=levels, visible=visible)
            boxes = move(places, refine(x))
            found.states.append(x)
            found.logits.append(classify(x))
            found.boxes.append(boxes)
            places = tf.stop_gradient(boxes)
        return found


@register
class RTDETRv2Decoder(RTDETRDecoder):
    """RT-DETR's decoder with a number of samples of every level (Lv et al., 2024, arXiv:2407.17140).

    Args:
        points: samples per head and query, of every level.
        method: see ``LevelPointsAttention``.
        other arguments: see ``RTDETRDecoder``.
    """

    def __init__(
        self,
        points: Sequence[int] = (4, 4, 4),
        method: Literal["default", "discrete"] = "default",
        **kwargs: Any,
    ) -> None:
        self.points, self.method = tuple(points), method
        super().__init__(**kwargs)

    def make_sampling(self) -> LevelPointsAttention:
        return LevelPointsAttention(self.units, self.num_heads, self.points, self.method)
