"""Parts of transformers that came with language models: RMSNorm and SwiGLU."""

from typing import Any

import tensorflow as tf

from kdet.layers.base import Layer
from kdet.layers.composite import Composite
from kdet.layers.linear import Linear
from kdet.registry import register
from kdet.typing import Shape, Tensor


@register
class RMSNorm(Layer):
    """Division by the root mean square of the last axis (Zhang & Sennrich, 2019), in float32.

    Args:
        epsilon: added to the mean square.

    Call: ``[..., C] -> [..., C]``.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1],), initializer="ones")

    def call(self, x: Tensor) -> Tensor:
        wide = tf.cast(x, tf.float32)
        wide *= tf.math.rsqrt(tf.reduce_mean(tf.square(wide), -1, keepdims=True) + self.epsilon)
        return tf.cast(self.weight, x.dtype) * tf.cast(wide, x.dtype)


@register
class SwiGLU(Composite):
    """Two dense layers side by side, one through SiLU a factor of the other, and a third (Shazeer, 2020).

    Args:
        hidden_units: of the two.
        units: of the result.

    Call: ``[..., C] -> [..., units]``, without the residual.
    """

    def __init__(self, hidden_units: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate_proj, self.up_proj = Linear(hidden_units), Linear(hidden_units)
        self.down_proj = Linear(units)

    def call(self, x: Tensor) -> Tensor:
        return self.down_proj(tf.nn.silu(self.gate_proj(x)) * self.up_proj(x))
