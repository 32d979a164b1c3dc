"""The stacks of convolutions that most dense heads are made of, and their prediction layers."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, Conv2D, ConvModule, DeformConv2D, Layer
from kdet.registry import register
from kdet.typing import Activation, Norm, Spec, Tensor


def prior_bias(probability: float = 0.01) -> keras.initializers.Initializer:
    """Bias initializer under which a sigmoid starts at ``probability``."""
    return keras.initializers.Constant(-math.log((1 - probability) / probability))


def small_normal(stddev: float = 0.01) -> keras.initializers.Initializer:
    """Initializer of the kernels of dense heads."""
    return keras.initializers.RandomNormal(stddev=stddev)


def conv_tower(
    depth: int,
    filters: int,
    conv: str | Spec | keras.Layer | None = None,
    norm: str | Spec | None = None,
    last_conv: str | Spec | keras.Layer | None = None,
    use_bias: bool | None = None,
    activation: Activation = "relu",
) -> list[ConvModule]:
    """``depth`` 3x3 ``ConvModule`` of ``filters`` channels, a list.

    Args:
        conv, norm: their specs.
        last_conv: spec of the last one's convolution where it differs (deformable).
        use_bias: None for "only without a norm".
        activation: after every convolution.
    """
    specs = [conv] * depth
    if last_conv is not None:
        specs[-1] = last_conv
    return [
        ConvModule(
            filters,
            3,
            padding=1,
            conv=spec,
            norm=norm,
            use_bias=use_bias,
            activation=activation,
            kernel_initializer=small_normal(),
        )  # fmt: skip
        for spec in specs
    ]


def towers_of_levels(
    tower: Sequence[ConvModule], num_levels: int, norm: Norm | None, activation: Activation = "relu"
) -> list[list[ConvModule]]:
    """Towers with the convolutions of ``tower``, which is the first of them, and norms of their own.

    Args:
        tower: of the finest level.
        num_levels: how many towers.
        norm, activation: of ``tower``.
    """
    others = [
        [ConvModule(m.conv.filters, 3, conv=m.conv, norm=norm, activation=activation) for m in tower]
        for _ in range(num_levels - 1)
    ]
    return [list(tower), *others]


def apply_tower(layers: Sequence[Any], x: Tensor) -> Tensor:
    """``x`` through all ``layers``."""
    for layer in layers:
        x = layer(x)
    return x


def prediction(
    filters: int,
    kernel_size: int = 3,
    probability: float | None = None,
    layer: Any = Conv2D,
    bias: float = 0.0,
) -> keras.Layer:
    """The convolution that ends a tower.

    Args:
        filters, kernel_size: of the convolution.
        probability: where the sigmoid of its outputs starts; None: they start at ``bias``.
        layer: its class.
        bias: starting value of the biases.
    """
    return layer(
        filters,
        kernel_size,
        padding=kernel_size // 2,
        kernel_initializer=small_normal(),
        bias_initializer=keras.initializers.Constant(bias)
        if probability is None
        else prior_bias(probability),
    )


@register
class Scale(Layer):
    """Multiplies by one learned factor; the result is float32, as boxes need it."""

    def __init__(self, initial: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(
            name="scale", shape=(), initializer=keras.initializers.Constant(self.initial)
        )

    def call(self, x: Tensor) -> Tensor:
        return tf.cast(x * tf.cast(self.scale, x.dtype), tf.float32)


class FeatureAdaption(Composite):
    """3x3 deformable convolution whose offsets follow from what is predicted at a cell, and a ReLU.

    Args:
        filters: channels of the result.
        deform_groups: groups of channels with offsets of their own.
        offset_deviation: of the initial kernel from predictions to offsets.

    Call: ``x [B,h,w,C], predictions [B,h,w,K] -> [B,h,w,filters]``.
    """

    def __init__(
        self, filters: int, deform_groups: int = 4, offset_deviation: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.conv_offset = Conv2D(
            deform_groups * 18, 1, use_bias=False, kernel_initializer=small_normal(offset_deviation)
        )
        self.conv_adaption = DeformConv2D(
            filters,
            3,
            padding=1,
            deform_groups=deform_groups,
            use_bias=False,
            kernel_initializer=small_normal(),
        )

    def call(self, x: Tensor, predictions: Tensor) -> Tensor:
        return tf.nn.relu(self.conv_adaption(x, self.conv_offset(predictions)))
