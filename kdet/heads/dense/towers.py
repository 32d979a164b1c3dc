"""The stacks of convolutions that most dense heads are made of, and their prediction layers."""

import math

import keras
import tensorflow as tf

from kdet.layers import Composite, Conv2D, ConvModule, DeformConv2D
from kdet.registry import register


def prior_bias(probability=0.01):
    """Bias initializer under which a sigmoid starts at ``probability``."""
    return keras.initializers.Constant(-math.log((1 - probability) / probability))


def small_normal(stddev=0.01):
    """Initializer of the kernels of dense heads."""
    return keras.initializers.RandomNormal(stddev=stddev)


def conv_tower(depth, filters, conv=None, norm=None, last_conv=None, use_bias=None):
    """``depth`` 3x3 ``ConvModule`` of ``filters`` channels, a list.

    Args:
        conv, norm: their specs.
        last_conv: spec of the last one's convolution where it differs (deformable).
        use_bias: None for "only without a norm".
    """
    specs = [conv] * depth
    if last_conv is not None:
        specs[-1] = last_conv
    return [
        ConvModule(
            filters, 3, padding=1, conv=spec, norm=norm, use_bias=use_bias, kernel_initializer=small_normal()
        )
        for spec in specs
    ]


def apply_tower(layers, x):
    """``x`` through all ``layers``."""
    for layer in layers:
        x = layer(x)
    return x


def prediction(filters, kernel_size=3, probability=None, layer=Conv2D):
    """The convolution that ends a tower; ``probability`` is where its sigmoid starts (None: bias 0)."""
    return layer(
        filters,
        kernel_size,
        padding=kernel_size // 2,
        kernel_initializer=small_normal(),
        bias_initializer="zeros" if probability is None else prior_bias(probability),
    )


@register
class Scale(keras.layers.Layer):
    """Multiplies by one learned factor; the result is float32, as boxes need it."""

    def __init__(self, initial=1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        self.scale = self.add_weight(
            name="scale", shape=(), initializer=keras.initializers.Constant(self.initial)
        )

    def call(self, x):
        return tf.cast(x * tf.cast(self.scale, x.dtype), tf.float32)


class FeatureAdaption(Composite):
    """3x3 deformable convolution whose offsets follow from what is predicted at a cell, and a ReLU.

    Args:
        filters: channels of the result.
        deform_groups: groups of channels with offsets of their own.
        offset_deviation: of the initial kernel from predictions to offsets.

    Call: ``x [B,h,w,C], predictions [B,h,w,K] -> [B,h,w,filters]``.
    """

    def __init__(self, filters, deform_groups=4, offset_deviation=0.01, **kwargs):
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

    def call(self, x, predictions):
        return tf.nn.relu(self.conv_adaption(x, self.conv_offset(predictions)))
