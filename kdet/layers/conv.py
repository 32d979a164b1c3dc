"""Convolutions with PyTorch's symmetric padding."""

from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.layers import context, initializers
from kdet.layers.base import Layer
from kdet.registry import register
from kdet.typing import Pair, Shape, Tensor


def _pair(value: int | Pair) -> Pair:
    if isinstance(value, int):
        return value, value
    y, x = value
    return y, x


@register
class Conv2D(Layer):
    """2-D convolution with explicit symmetric padding and groups.

    Keras' ``padding="same"`` pads strided convolutions asymmetrically, which no PyTorch checkpoint
    expects; here ``padding`` counts the zeros added on both sides.

    Args:
        filters: output channels.
        kernel_size, stride, padding, dilation: int or (y, x).
        groups: groups of channels that are convolved apart.
        use_bias: add a bias.
        kernel_initializer: see ``kdet.layers.initializers``; bias_initializer: as in Keras.

    Call: ``[B,H,W,C] -> [B,H',W',filters]``.
    """

    torch_tensors = {"weight": ("kernel", "conv"), "bias": ("bias", None)}

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.groups, self.use_bias = filters, groups, use_bias
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        self.supports_jit = groups == 1 and max(self.dilation) == 1  # else `ops.grouped_conv2d`, see NoXla
        self.kernel_initializer = initializers.kernel_initializer(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.name}: {channels} input channels and {self.filters} filters do not divide "
                f"into {self.groups} groups."
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
            autocast=False,  # norms are folded into it in full precision
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer=self.bias_initializer, autocast=False
            )

    def dilate(self, dilation: Pair) -> None:
        """Gives it another dilation (y, x) than it was constructed with; the result keeps its size."""
        self.dilation, self.padding = dilation, self.padding_for(dilation)
        self.supports_jit = self.groups == 1 and max(dilation) == 1

    def padding_for(self, dilation: Pair) -> Pair:
        """The padding (y, x) under which a map is divided by the stride, whatever the dilation."""
        steps = zip(self.stride, dilation, self.kernel_size)
        y, x = ((stride - 1 + d * (size - 1)) // 2 for stride, d, size in steps)
        return y, x

    def effective_kernel(self) -> Tensor:
        """The filters that are applied; subclasses rework them."""
        return self.kernel

    def explicit_padding(self) -> list[list[int]]:
        (py, px) = self.padding
        return [[0, 0], [py, py], [px, px], [0, 0]]

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The convolution without bias, with a kernel that the caller may have reworked."""
        kernel = tf.cast(kernel, x.dtype)
        if self.groups > 1 or max(self.dilation) > 1:
            return ops.grouped_conv2d(x, kernel, self.stride, self.padding, self.dilation, self.groups)
        # TensorFlow has no oneDNN gradient for explicit padding, so it is spelled in ways that have one.
        padding = "VALID"
        if self.stride == (1, 1) and all(2 * p == k - 1 for p, k in zip(self.padding, self.kernel_size)):
            padding = "SAME"
        elif any(self.padding):
            x = tf.pad(x, self.explicit_padding())
        return tf.nn.conv2d(x, kernel, self.stride, padding)

    def call(self, x: Tensor) -> Tensor:
        return self.apply(x, self.effective_kernel(), self.bias)

    def apply(self, x: Tensor, kernel: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor:
        """Convolution with weights that the caller may have reworked, bias (or None) and a ReLU."""
        if context.convolutions_are_quick() and self._is_plain_3x3() and x.dtype == tf.float32:
            bias = tf.zeros([self.filters]) if bias is None else bias
            return ops.conv3x3(x, kernel, bias, relu)
        y = self.convolve(x, kernel)
        if bias is not None:
            y = tf.nn.bias_add(y, tf.cast(bias, y.dtype))
        return tf.nn.relu(y) if relu else y

    def _is_plain_3x3(self) -> bool:
        shape = (self.kernel_size, self.padding, self.stride, self.dilation, self.groups)
        return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)

    def add_bias(self, x: Tensor) -> Tensor:
        """``x`` plus the bias, where the layer has one."""
        return x if self.bias is None else tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))


@register
class ConvTranspose2D(Layer):
    """Transposed 2-D convolution whose kernel equals its stride (exact up-sampling, no overlap).

    Call: ``[B,H,W,C] -> [B,H*k,W*k,filters]``.
    """

    torch_tensors = {"weight": ("kernel", "conv_transpose"), "bias": ("bias", None)}

    def __init__(
        self, filters: int, kernel_size: int = 2, kernel_initializer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.kernel_initializer = initializers.kernel_initializer(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        k = self.kernel_size
        self.kernel = self.add_weight(
            name="kernel", shape=(k, k, self.filters, input_shape[-1]), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        k = self.kernel_size
        shape = tf.shape(x)
        out = tf.stack([shape[0], shape[1] * k, shape[2] * k, self.filters])
        y = tf.nn.conv2d_transpose(x, self.kernel, out, k, padding="VALID")
        y.set_shape([x.shape[0], *(None if s is None else s * k for s in x.shape[1:3]), self.filters])
        return tf.nn.bias_add(y, self.bias)
