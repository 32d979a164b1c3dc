"""Attention between all cells of a map (Wang et al., 2017)."""

from typing import Any

import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv_module import ConvModule
from kdet.registry import register
from kdet.typing import Tensor


@register
class NonLocal2D(Composite):
    """Adds to every cell the embedded-Gaussian attention over all cells.

    Args:
        channels: of input and output.
        reduction: the embeddings have ``channels / reduction``.
        use_scale: divide the products by the square root of their length.

    Call: ``[B,h,w,channels] -> [B,h,w,channels]``; a new layer is the identity.
    """

    def __init__(self, channels: int, reduction: int = 2, use_scale: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner, self.use_scale = max(channels // reduction, 1), use_scale

        def embedding(filters: int, initializer: Any) -> ConvModule:
            return ConvModule(filters, 1, activation=None, kernel_initializer=initializer)

        self.g = embedding(self.inner, "random_normal")
        self.conv_out = embedding(channels, "zeros")
        self.theta = embedding(self.inner, "random_normal")
        self.phi = embedding(self.inner, "random_normal")

    def call(self, x: Tensor) -> Tensor:
        shape = tf.shape(x)
        g, theta, phi = (
            tf.reshape(layer(x), [shape[0], -1, self.inner]) for layer in (self.g, self.theta, self.phi)
        )
        products = tf.matmul(theta, phi, transpose_b=True)  # [B, hw, hw]
        if self.use_scale:
            products /= self.inner**0.5
        y = tf.matmul(tf.nn.softmax(products), g)
        return x + self.conv_out(tf.reshape(y, [*tf.unstack(shape[:3]), self.inner]))
