"""Generalised attention over a map (Zhu et al., 2019, arXiv:1904.05873)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.linear import Linear
from kdet.registry import register
from kdet.typing import Shape, Tensor

WAVE_LENGTH = 1000.0


def relative_embedding(count: Tensor, key_count: Tensor, stride: int, size: int) -> Tensor:
    """Sines and cosines of query minus key positions: ``[count,key_count,size]``, keys ``stride`` apart."""
    distance = tf.range(count)[:, None] - tf.range(key_count)[None, :] * stride
    frequencies = WAVE_LENGTH ** (np.arange(size // 2) * 2.0 / size)
    phase = tf.cast(distance, tf.float32)[..., None] / tf.constant(frequencies, tf.float32)
    return tf.concat([tf.sin(phase), tf.cos(phase)], -1)


@register
class GeneralizedAttention(Composite):
    """Attention of every pixel to a sub-sampled map, added to the map with a learned factor (0 at first).

    Args:
        num_heads: attention heads.
        terms: four flags, which terms make up the energy: (query, key content), (query content, relative
            position), (key content alone), (relative position alone).
        kv_stride: keys and values are every so-many-th pixel.

    Call: ``[B,h,w,C] -> [B,h,w,C]``.
    """

    def __init__(self, num_heads: int = 8, terms: str = "1111", kv_stride: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(terms) != 4 or set(terms) - {"0", "1"}:
            raise ValueError(f"GeneralizedAttention: terms must be four flags such as '0010', not {terms!r}.")
        self.num_heads, self.kv_stride = num_heads, kv_stride
        self.terms = tuple(flag == "1" for flag in terms)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.head_size = channels // self.num_heads
        size = self.head_size * self.num_heads
        self.position_size = channels // 2
        content, content_position, key_only, position_only = self.terms

        if content or content_position:
            self.query_conv = Conv2D(size, 1, use_bias=False)
        if content or key_only:
            self.key_conv = Conv2D(size, 1, use_bias=False)
        self.value_conv = Conv2D(size, 1, use_bias=False)
        if content_position or position_only:
            self.appr_geom_fc_x = Linear(size, use_bias=False)
            self.appr_geom_fc_y = Linear(size, use_bias=False)
        limit = 1 / math.sqrt(self.head_size * 2)
        uniform = {"shape": (size,), "initializer": tf.keras.initializers.RandomUniform(-limit, limit)}
        self.appr_bias = self.add_weight(name="appr_bias", **uniform) if key_only else None
        self.geom_bias = self.add_weight(name="geom_bias", **uniform) if position_only else None
        self.proj_conv = Conv2D(channels, 1)
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer="zeros")

    def heads(self, x: Tensor) -> Tensor:
        """``[...,heads*size] -> [...,heads,size]``."""
        return tf.reshape(x, tf.concat([tf.shape(x)[:-1], [self.num_heads, -1]], 0))

    def call(self, x: Tensor) -> Tensor:
        keys = x[:, :: self.kv_stride, :: self.kv_stride]
        energy = self.energy(x, keys)  # [B, heads, h, w, h', w'], h = w = 1 if it is the same for all pixels
        shape = tf.shape(energy)
        weights = tf.nn.softmax(tf.reshape(energy, tf.concat([shape[:4], [-1]], 0)))
        values = tf.reshape(self.heads(self.value_conv(keys)), [shape[0], -1, self.num_heads, self.head_size])
        mixed = tf.einsum("bnhwk,bknd->bhwnd", weights, values)
        mixed = tf.reshape(mixed, [shape[0], shape[2], shape[3], self.num_heads * self.head_size])
        return x + tf.cast(self.gamma, x.dtype) * self.proj_conv(mixed)

    def energy(self, x: Tensor, keys: Tensor) -> Tensor:
        content, content_position, key_only, position_only = self.terms
        query = self.heads(self.query_conv(x)) if content or content_position else 0.0
        parts = []
        if content or key_only:
            wanted = (query if content else 0.0) + self._bias(self.appr_bias)
            wanted = tf.broadcast_to(wanted, tf.concat([tf.shape(x)[:1], tf.shape(wanted)[1:]], 0))
            parts.append(tf.einsum("bhwnd,byxnd->bnhwyx", wanted, self.heads(self.key_conv(keys))))
        if content_position or position_only:
            wanted = (query if content_position else 0.0) + self._bias(self.geom_bias)
            along_x, along_y = self.positions(x, keys)
            shape = tf.concat([tf.shape(x)[:3], [self.num_heads, self.head_size]], 0)
            wanted = tf.broadcast_to(wanted, shape)
            # expanded, not sliced by None: TensorFlow's TFLite runtime has no slices of six dimensions
            parts.append(tf.expand_dims(tf.einsum("bhwnd,wxnd->bnhwx", wanted, along_x), -2))
            if not position_only:
                # the reference transposes the query here (GRoIE has square regions), and so must its weights
                wanted = tf.transpose(wanted, [0, 2, 1, 3, 4])
            parts.append(tf.expand_dims(tf.einsum("bhwnd,hynd->bnhwy", wanted, along_y), -1))
        return sum(parts[1:], parts[0])

    def _bias(self, bias: Tensor) -> Tensor:
        if bias is None:
            return 0.0
        return tf.reshape(bias, [1, 1, 1, self.num_heads, self.head_size])

    def positions(self, x: Tensor, keys: Tensor) -> list[Tensor]:
        """Embedded relative positions of pixels and keys: ``[w,w',heads,size]``, ``[h,h',heads,size]``."""
        shape, key_shape = tf.shape(x), tf.shape(keys)
        embedded = []
        for axis, layer in ((2, self.appr_geom_fc_x), (1, self.appr_geom_fc_y)):
            position = relative_embedding(shape[axis], key_shape[axis], self.kv_stride, self.position_size)
            embedded.append(self.heads(layer(position)) / math.sqrt(2.0))
        return embedded
