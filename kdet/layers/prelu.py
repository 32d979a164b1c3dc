"""An activation with a learned slope."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers.base import Layer
from kdet.registry import register
from kdet.typing import Shape, Tensor


@register
class PReLU(Layer):
    """ReLU that keeps a learned share of negative values, one for all channels (He et al., 2015).

    Call: any shape -> the same.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: Shape) -> None:
        self.weight = self.add_weight(
            name="weight", shape=(1,), initializer=keras.initializers.Constant(0.25)
        )

    def call(self, x: Tensor) -> Tensor:
        return tf.maximum(x, 0.0) + tf.cast(self.weight, x.dtype) * tf.minimum(x, 0.0)
