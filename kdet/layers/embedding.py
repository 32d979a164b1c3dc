"""A learned table that every image of a batch starts from."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers.base import Layer
from kdet.registry import register
from kdet.typing import Tensor


@register
class Embedding(Layer):
    """A table ``weight [rows,units]``, the same for all images (DETR's queries).

    Args:
        rows, units: size of the table.
        initializer: Keras initializer of its values, the unit normal distribution when None.

    Call: any batch ``[B,...]`` -> ``[B,rows,units]`` in its dtype.
    """

    def __init__(self, rows: int, units: int, initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        initializer = initializer or keras.initializers.RandomNormal(stddev=1.0)
        self.weight = self.add_weight(name="weight", shape=(rows, units), initializer=initializer)

    def call(self, batch: Tensor) -> Tensor:
        table = tf.cast(self.weight, batch.dtype)
        return tf.broadcast_to(table[None], [tf.shape(batch)[0], *table.shape])
