"""Transposed convolution whose windows overlap."""

from typing import Any

import tensorflow as tf

from kdet.layers.base import Layer
from kdet.layers.conv_module import register_conv
from kdet.layers.initializers import kernel_initializer as initializer
from kdet.registry import register
from kdet.typing import Shape, Tensor


@register_conv("deconv")
@register
class UpsamplingConv2D(Layer):
    """Transposed 2-D convolution that enlarges a map by its stride exactly.

    Args:
        filters: output channels.
        kernel_size, stride, padding: as in PyTorch, with ``kernel_size - stride == 2 * padding``.
        dilation, groups: 1, there is no other.
        use_bias, kernel_initializer, bias_initializer: as in ``Conv2D``.

    Call: ``[B,H,W,C] -> [B,H*stride,W*stride,filters]``.

    Raises:
        ValueError: other sizes.
    """

    torch_tensors = {"weight": ("kernel", "conv_transpose"), "bias": ("bias", None)}

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 2,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size - stride != 2 * padding or dilation != 1 or groups != 1:
            raise ValueError(
                f"{type(self).__name__} enlarges by its stride: kernel_size {kernel_size} - stride {stride} "
                f"must be twice the padding {padding}, dilation and groups 1."
            )
        self.filters, self.kernel_size, self.stride, self.use_bias = filters, kernel_size, stride, use_bias
        self.kernel_initializer, self.bias_initializer = initializer(kernel_initializer), bias_initializer

    def build(self, input_shape: Shape) -> None:
        k = self.kernel_size
        self.kernel = self.add_weight(
            name="kernel", shape=(k, k, self.filters, input_shape[-1]), initializer=self.kernel_initializer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        shape = tf.shape(x)
        out = tf.stack([shape[0], shape[1] * self.stride, shape[2] * self.stride, self.filters])
        y = tf.nn.conv2d_transpose(x, self.kernel, out, self.stride, padding="SAME")
        sides = (None if side is None else side * self.stride for side in x.shape[1:3])
        y.set_shape([x.shape[0], *sides, self.filters])
        return y if self.bias is None else tf.nn.bias_add(y, self.bias)
