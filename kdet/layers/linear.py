"""Dense layer that can take a feature map."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import initializers
from kdet.layers.base import Layer
from kdet.registry import register
from kdet.typing import Pair, Shape, Tensor, TorchTensors


@register
class Linear(Layer):
    """``x @ kernel + bias`` over the last axis.

    Args:
        units: output size.
        flatten: True to flatten ``[N,h,w,C]`` first. The kernel's rows are then in (h, w, C) order
            while a PyTorch checkpoint has them in (C, h, w): the converter permutes them.
    """

    def __init__(
        self,
        units: int,
        flatten: bool = False,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.flatten, self.use_bias = units, flatten, use_bias
        self.kernel_initializer = initializers.kernel_initializer(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.map_size: Pair | None = None

    @property
    def torch_tensors(self) -> TorchTensors:
        layout = ("linear_chw", self.map_size) if self.flatten else "linear"
        return {"weight": ("kernel", layout), "bias": ("bias", None)}

    def build(self, input_shape: Shape) -> None:
        rows = input_shape[-1]
        if self.flatten:
            height, width = input_shape[1:3]
            self.map_size = (height, width)
            rows *= height * width
        self.kernel = self.add_weight(
            name="kernel", shape=(rows, self.units), initializer=self.kernel_initializer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer=self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        if self.flatten:
            x = tf.reshape(x, [-1, self.kernel.shape[0]])
        return project(x, self.kernel, self.bias)


def project(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x [..., I]`` times ``kernel [I,O]`` plus ``bias [O]``, as one product of matrices."""
    rows = x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]])
    y = tf.matmul(rows, kernel)
    y = y if bias is None else tf.nn.bias_add(y, bias)
    if x.shape.rank == 2:
        return y
    y = tf.reshape(y, tf.concat([tf.shape(x)[:-1], [y.shape[-1]]], 0))
    return tf.ensure_shape(y, [*x.shape[:-1], y.shape[-1]])


@register
class PointConv(Linear):
    """Dense layer on lists of points ``[N,P,C]`` that checkpoints hold as a 1-D convolution."""

    torch_tensors = {"weight": ("kernel", "point_conv"), "bias": ("bias", None)}
