"""Global context block (Cao et al., 2019, arXiv:1904.11492)."""

from typing import Any

import tensorflow as tf

from kdet.layers.base import Layer
from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.registry import register
from kdet.typing import Shape, Tensor


class PixelLayerNorm(Layer):
    """Layer normalization of ``[B,1,1,C]`` over its channels, with the checkpoints' ``[C,1,1]`` tensors."""

    torch_tensors = {"weight": ("gamma", None), "bias": ("beta", None)}

    def build(self, input_shape: Shape) -> None:
        shape = (input_shape[-1], 1, 1)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        mean, variance = tf.nn.moments(tf.cast(x, tf.float32), [-1], keepdims=True)
        gamma, beta = (tf.cast(tf.reshape(v, [-1]), tf.float32) for v in (self.gamma, self.beta))
        return tf.cast(
            tf.nn.batch_normalization(tf.cast(x, tf.float32), mean, variance, beta, gamma, 1e-5), x.dtype
        )


@register
class ContextBlock(Composite):
    """Adds to every pixel what two 1x1 convolutions make of the attention-weighted mean of the map.

    Args:
        ratio: channels of the hidden layer, as a part of the input's.

    Call: ``[B,h,w,C] -> [B,h,w,C]``.
    """

    def __init__(self, ratio: float = 1 / 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.conv_mask = Conv2D(1, 1)
        # positions as in the checkpoint's Sequential: None is its ReLU
        self.channel_add_conv: list[Any] = [
            Conv2D(int(channels * self.ratio), 1),
            PixelLayerNorm(),
            None,
            Conv2D(channels, 1, kernel_initializer="zeros"),
        ]

    def call(self, x: Tensor) -> Tensor:
        weights = tf.nn.softmax(tf.reshape(self.conv_mask(x), [tf.shape(x)[0], -1]))  # [B, h*w]
        pixels = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
        context = tf.einsum("bp,bpc->bc", weights, pixels)[:, None, None]  # [B, 1, 1, C]
        first, norm, _, last = self.channel_add_conv
        return x + last(tf.nn.relu(norm(first(context))))
