"""Dense layers and convolutions that compare directions only (Wang et al., 2017, arXiv:1704.06369)."""

from typing import Any

import tensorflow as tf

from kdet.layers.conv import Conv2D
from kdet.layers.conv_module import register_conv
from kdet.layers.linear import Linear, project
from kdet.registry import register
from kdet.typing import Tensor

_EPSILON = 1e-6


def directions(x: Tensor, axis: int) -> Tensor:
    """``x`` divided by its length along ``axis``; a vector of zeros, and its gradient, stay finite."""
    squares = tf.reduce_sum(tf.square(x), axis, keepdims=True)
    return x / (tf.sqrt(tf.maximum(squares, 1e-24)) + _EPSILON)


@register
class NormedLinear(Linear):
    """Cosine of input and weights, times a temperature, plus a bias.

    Args:
        units: output size.
        temperature: factor of the cosine.
        other arguments: see ``Linear``.

    Call: ``[N,C] -> [N,units]``.
    """

    def __init__(self, units: int, temperature: float = 20.0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.temperature = temperature

    def call(self, x: Tensor) -> Tensor:
        kernel = directions(tf.convert_to_tensor(self.kernel), 0)
        return project(directions(x, -1) * self.temperature, kernel, self.bias)


@register_conv("conv_normed")
@register
class NormedConv2D(Conv2D):
    """Convolution of pixels of length one by filters whose cells have length one, times a temperature.

    Args:
        temperature: factor.
        other arguments: see ``Conv2D``.
    """

    def __init__(self, filters: int, kernel_size: int, temperature: float = 20.0, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.temperature = temperature

    def effective_kernel(self) -> Tensor:
        return directions(tf.convert_to_tensor(self.kernel), 2)

    def call(self, x: Tensor) -> Tensor:
        return super().call(directions(x, -1) * self.temperature)
