"""Layers of encoders and decoders, and the position encoding of maps."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.dropout import DropoutMasks, dropout
from kdet.layers.linear import Linear
from kdet.layers.norm import LayerNorm
from kdet.layers.prelu import PReLU
from kdet.registry import Component, register
from kdet.typing import Activation, Array, Tensor


@register
class FFN(Composite):
    """Two dense layers with an activation between them.

    Args:
        hidden_units, units: sizes of the two.
        dropout: rate, after both.
        activation: Keras activation name; "prelu" for one with a learned slope.
        kernel_initializer: see ``kdet.layers.initializers``.

    Call: ``[..., C] -> [..., units]``, without the residual.
    """

    def __init__(
        self,
        hidden_units: int = 2048,
        units: int = 256,
        dropout: float = 0.0,
        activation: Activation = "relu",
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.activation = None if activation == "prelu" else keras.activations.get(activation)
        first, last = (Linear(n, kernel_initializer=kernel_initializer) for n in (hidden_units, units))
        # nested as in the checkpoint: the first dense layer shares a sequence with its activation
        self.layers: list[Any] = [[first, PReLU()] if self.activation is None else [first], last]

    def call(self, x: Tensor, masks: DropoutMasks | None = None) -> Tensor:
        x = self.layers[0][0](x)
        x = self.layers[0][1](x) if self.activation is None else self.activation(x)
        x = dropout(x, self.dropout, masks)
        return dropout(self.layers[1](x), self.dropout, masks)


class Given:
    """Keyword arguments of each attention of a layer, in turn.

    An object, because Keras does not take tensors and other things in one nested argument.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


@register
class TransformerLayer(Composite):
    """Attentions and a feed-forward network, each with a residual and a norm after it.

    Args:
        attentions: attention layers in order (self-attention; then cross-attention in a decoder).
        ffn_units: hidden size of the feed-forward network.
        units: channels.
        dropout: rate of the feed-forward network.
        activation: of the feed-forward network, see ``FFN``.

    Call: ``x [B,N,units]``, ``given`` (``Given``), ``masks`` -> ``[B,N,units]``.
    """

    def __init__(
        self,
        attentions: Sequence[keras.layers.Layer],
        ffn_units: int,
        units: int = 256,
        dropout: float = 0.0,
        activation: Activation = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.attentions = list(attentions)
        self.ffns = [FFN(ffn_units, units, dropout, activation)]
        self.norms = [LayerNorm() for _ in range(len(self.attentions) + 1)]

    def call(self, x: Tensor, given: Any = None, masks: DropoutMasks | None = None) -> Tensor:
        for attention, norm, arguments in zip(self.attentions, self.norms, given.arguments, strict=False):
            x = norm(x + attention(x, masks=masks, **arguments))
        return self.norms[-1](x + self.ffns[0](x, masks=masks))


@register
class NamedTransformerLayer(TransformerLayer):
    """``TransformerLayer`` with the names that MMDetection 3 gives its parts in checkpoints."""

    torch_names = {"attentions": ("self_attn", "cross_attn"), "ffns": ("ffn",)}


@register
class TransformerEncoder(Composite):
    """Layers one after the other, all with the same arguments.

    Args:
        layers: list of ``TransformerLayer``.

    Call: as ``TransformerLayer``.
    """

    def __init__(self, layers: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = list(layers)

    def call(self, x: Tensor, given: Any = None, masks: DropoutMasks | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, given=given, masks=masks)
        return x


@register
class TransformerDecoder(TransformerEncoder):
    """The encoder's sequence, which returns what every layer says (Carion et al., 2020).

    Call: as ``TransformerLayer``, but -> ``[layers,B,N,units]``, normalized.
    """

    def __init__(self, layers: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(layers=layers, **kwargs)
        self.post_norm = LayerNorm()

    def call(self, x: Tensor, given: Any = None, masks: DropoutMasks | None = None) -> Tensor:
        states = []
        for layer in self.layers:
            x = layer(x, given=given, masks=masks)
            states.append(self.post_norm(x))
        return tf.stack(states)


def wavelengths(count: int, temperature: float = 10000.0) -> Array:
    """Divisors of a sine encoding with ``count`` channels: float32 ``[count]``."""
    return np.float32(float(temperature) ** (2.0 * (np.arange(count) // 2) / count))


def interleaved_waves(angles: Tensor) -> Tensor:
    """Sine of the even and cosine of the odd of the last axis, which keeps its order."""
    waves = tf.stack([tf.sin(angles[..., 0::2]), tf.cos(angles[..., 1::2])], -1)
    return tf.reshape(waves, [*tf.unstack(tf.shape(angles)[:-1]), angles.shape[-1]])


def sine_encoding(values: Tensor, count: int, temperature: float = 10000.0) -> Tensor:
    """Sines and cosines of numbers in 0..1, ``count`` for each: ``[...,n] -> [...,n*count]``."""
    angles = values[..., None] * (2.0 * math.pi) / wavelengths(count, temperature)
    shape = [*tf.unstack(tf.shape(values)[:-1]), values.shape[-1] * count]
    return tf.reshape(interleaved_waves(angles), shape)


@register
class SinePositionEncoding(Component):
    """Sines and cosines of the place within the valid image (Carion et al., 2020).

    Args:
        units: channels, half for y and half for x.
        offset: added to the counted places before they are normalized.
        temperature: how much longer the longest wave is than the shortest.
    """

    def __init__(self, units: int = 256, offset: float = 0.0, temperature: float = 10000.0) -> None:
        self.units, self.offset, self.temperature = units, offset, temperature

    def __call__(self, valid: Tensor) -> Tensor:
        """``valid`` bool ``[B,h,w]`` -> float32 ``[B,h,w,units]``."""
        counted = tf.cast(valid, tf.float32)
        divisors = wavelengths(self.units // 2, self.temperature)
        parts = []
        for axis in (1, 2):
            place = tf.cumsum(counted, axis)
            last = tf.gather(place, [tf.shape(place)[axis] - 1], axis=axis)
            # in this order of operations padding, where ``last`` is 0, gives the published values too
            place = (place + self.offset) / (last + 1e-6) * (2.0 * math.pi)
            parts.append(interleaved_waves(place[..., None] / divisors))
        return tf.concat(parts, -1)
