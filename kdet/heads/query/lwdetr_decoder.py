"""The decoder of LW-DETR and RF-DETR (Chen et al., 2024, arXiv:2406.03459)."""

from typing import Any

import tensorflow as tf

from kdet.heads.query.rtdetr_decoder import RTDETRDecoderLayer
from kdet.layers import MLP, Composite, DeformableAttention, FeatureLevels, LayerNorm, sine_encoding, sizes_of
from kdet.registry import register
from kdet.typing import Tensor


class GroupDecoderLayer(RTDETRDecoderLayer):
    """RT-DETR's layer whose queries look at those of their own group only.

    Args:
        see ``RTDETRDecoderLayer``.

    Call: ``x [B,groups*Q,units]``, ``memory [B,S,units]``, ``position [B,groups*Q,units]``, ``references
    [B,groups*Q,4]``, ``levels``, ``groups`` -> ``[B,groups*Q,units]``.
    """

    torch_names = {
        "encoder_attn": "cross_attn",
        "encoder_attn_layer_norm": "cross_attn_layer_norm",
        "final_layer_norm": "layer_norm",
    }

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        position: Tensor,
        references: Tensor,
        levels: Any = None,
        groups: int = 1,
    ) -> Tensor:
        shape = sizes_of(x)
        apart = [-1, shape[1] // groups, shape[2]]
        own = self.self_attn(tf.reshape(x, apart), position=tf.reshape(position, apart))
        x = self.self_attn_layer_norm(x + tf.reshape(own, shape))
        return self.behind(x, memory, position, references, levels)


@register
class LWDETRDecoder(Composite):
    """Decoder layers that all look around the same boxes.

    Args:
        units, num_heads, ffn_units: of the layers.
        sampling_heads: of the attention to the maps.
        num_layers: their number.
        num_levels, num_points: maps, and samples per map, head and query.

    Call: ``x [B,groups*Q,units]``, ``memory [B,S,units]``, ``references`` (float32 ``[B,groups*Q,4]``: cx,
    cy, w, h in 0..1 of the image), ``levels`` (``FeatureLevels``), ``groups`` -> what every layer says, a
    list of ``[B,groups*Q,units]``, normalized.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        sampling_heads: int = 16,
        ffn_units: int = 2048,
        num_layers: int = 3,
        num_levels: int = 1,
        num_points: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.layers = [
            GroupDecoderLayer(
                units,
                num_heads,
                ffn_units,
                DeformableAttention(units, sampling_heads, num_levels, num_points, 0.0),
            )
            for _ in range(num_layers)
        ]
        self.layernorm = LayerNorm()
        self.ref_point_head = MLP(units, units)

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        references: Tensor,
        levels: FeatureLevels | None = None,
        groups: int = 1,
    ) -> list[Tensor]:
        waves = sine_encoding(tf.gather(references, [1, 0, 2, 3], axis=-1), self.units // 2)
        position, states = self.ref_point_head(tf.cast(waves, x.dtype)), []
        for layer in self.layers:
            x = layer(x, memory, position, references, levels=levels, groups=groups)
            states.append(self.layernorm(x))
        return states
