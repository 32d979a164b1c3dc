"""The extra levels of SSD (Liu et al., 2015)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, ConvModule, Layer
from kdet.registry import register
from kdet.typing import Maps, Tensor


class L2Norm(Layer):
    """Every pixel's channels scaled to length one, times a learned factor per channel (Liu et al., 2015).

    Args:
        scale: the factors' starting value.
    """

    torch_tensors = {"weight": ("gamma", None)}

    def __init__(self, scale: float = 20.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        initializer = keras.initializers.Constant(self.scale)
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer=initializer)

    def call(self, x: Tensor) -> Tensor:
        y = tf.cast(x, tf.float32)
        # the floor only keeps the gradient of a pixel that is zero everywhere finite
        squares = tf.maximum(tf.reduce_sum(tf.square(y), -1, keepdims=True), 1e-20)
        y = tf.cast(self.gamma, tf.float32) * y / (tf.sqrt(squares) + 1e-10)
        return tf.cast(y, x.dtype)


@register
class SSDNeck(Composite):
    """Normalizes the first backbone map and adds coarser levels behind the last.

    Args:
        filters, strides, paddings: of the 3x3 convolution of each added level.
        last_kernel_size: kernel of the last of them.
        l2_norm_scale: starting value of the first map's ``L2Norm``.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,C]``, fine to coarse.
    """

    def __init__(
        self,
        filters: Sequence[int] = (512, 256, 256, 256),
        strides: Sequence[int] = (2, 2, 1, 1),
        paddings: Sequence[int] = (1, 1, 0, 0),
        last_kernel_size: int = 3,
        l2_norm_scale: float = 20.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.l2_norm = L2Norm(l2_norm_scale)
        kernel_sizes = [3] * (len(filters) - 1) + [last_kernel_size]
        shrinks = any(size > 2 * padding + 1 for size, padding in zip(kernel_sizes, paddings, strict=True))
        self.build_size = 300 if shrinks else 0  # on smaller images the last levels have no pixel left

        def module(filters: int, kernel_size: int, **kwargs: Any) -> ConvModule:
            return ConvModule(filters, kernel_size, kernel_initializer="glorot_uniform", **kwargs)

        self.extra_layers = [
            [module(width // 2, 1), module(width, kernel_size, stride=stride, padding=padding)]
            for width, kernel_size, stride, padding in zip(
                filters, kernel_sizes, strides, paddings, strict=True
            )
        ]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        outputs = [self.l2_norm(inputs[0]), *inputs[1:]]
        for squeeze, expand in self.extra_layers:
            outputs.append(expand(squeeze(outputs[-1])))
        return tuple(outputs)
