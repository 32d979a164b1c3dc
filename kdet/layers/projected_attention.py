"""Layers of transformers whose checkpoints hold query, key and value apart."""

import math
from typing import Any

import keras
import tensorflow as tf

from kdet.layers.attention import add, attend
from kdet.layers.composite import Composite
from kdet.layers.linear import Linear
from kdet.layers.norm import LayerNorm
from kdet.registry import register
from kdet.typing import Activation, Tensor


@register
class ProjectedAttention(Composite):
    """Self-attention with a dense layer each for query, key, value and result (Vaswani et al., 2017).

    Args:
        units: channels of everything.
        num_heads: heads, a divisor of ``units``.
        key_bias: whether the dense layer of keys has a bias.

    Call: ``x [B,N,units]``, ``position`` (``[B,N,units]`` or ``[1,N,units]``, added for query and key),
    ``visible`` (bool ``[1 or B,N,N]``: the keys that each query sees) -> ``[B,N,units]``, without the
    residual.
    """

    def __init__(self, units: int = 256, num_heads: int = 8, key_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.num_heads = units, num_heads
        self.q_proj, self.k_proj = Linear(units), Linear(units, use_bias=key_bias)
        self.v_proj, self.o_proj = Linear(units), Linear(units)

    def call(self, x: Tensor, position: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        placed = add(x, position)
        attended = attend(self.q_proj(placed), self.k_proj(placed), self.v_proj(x), self.num_heads, visible)
        return self.o_proj(attended)


@register
class TwoLayers(Composite):
    """Two dense layers with an activation between them, ``fc1`` and ``fc2``.

    Args:
        hidden_units, units: sizes of the two.
        activation: Keras activation name.

    Call: ``[..., C] -> [..., units]``, without the residual.
    """

    def __init__(self, hidden_units: int, units: int, activation: Activation = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fc1, self.fc2 = Linear(hidden_units), Linear(units)
        self.activation = keras.activations.get(activation)

    def call(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


def gelu(x: Tensor) -> Tensor:
    """The exact GELU, not its approximation by a hyperbolic tangent, in ops that ONNX has."""
    return 0.5 * x * (1.0 + tf.math.erf(x * tf.cast(math.sqrt(0.5), x.dtype)))


@register
class EncoderLayer(Composite):
    """Self-attention and a feed-forward network, each with a residual and a norm after it.

    Args:
        units, num_heads, ffn_units: of the layer.
        mlp: the feed-forward network, in the place of ``TwoLayers``.

    Call: ``x [B,N,units]``, ``position [1,N,units]`` -> ``[B,N,units]``.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 1024,
        mlp: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.self_attn = ProjectedAttention(units, num_heads)
        self.self_attn_layer_norm = LayerNorm()
        self.mlp = TwoLayers(ffn_units, units, gelu) if mlp is None else mlp
        self.final_layer_norm = LayerNorm()

    def call(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, position=position))
        return self.final_layer_norm(x + self.mlp(x))
