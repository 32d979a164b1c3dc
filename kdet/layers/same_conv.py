"""Convolutions whose padding follows from the size of the map."""

from typing import Any

import tensorflow as tf

from kdet.layers.conv import Conv2D
from kdet.registry import register
from kdet.typing import Pair, Tensor


@register
class SameConv2D(Conv2D):
    """Convolution to a map of the size divided by the stride, rounded up, as TensorFlow pads.

    The zeros that this takes stand on both sides, an odd one right and below. EfficientNet's weights come
    from TensorFlow.

    Args:
        padding: has no effect.
        other arguments: see ``Conv2D``; groups are 1, or as many as the channels.
    """

    def __init__(self, filters: int, kernel_size: int | Pair, padding: int | Pair = 0, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding=0, **kwargs)

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        kernel = tf.cast(kernel, x.dtype)
        if self.groups == 1:
            return tf.nn.conv2d(x, kernel, self.stride, "SAME")
        kernel = tf.reshape(kernel, [*self.kernel_size, self.groups, -1])
        return tf.nn.depthwise_conv2d(x, kernel, [1, *self.stride, 1], "SAME")
