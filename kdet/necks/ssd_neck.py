"""The extra levels of SSD (Liu et al., 2015)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, ConvModule, Layer, SeparableConvModule, truncated_normal
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


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
        l2_norm_scale: starting value of the first map's ``L2Norm``; None: the map stays as it is.
        depthwise: the 3x3 convolutions are depthwise ones, each followed by a 1x1 one (SSDLite).
        norm: spec of all convolutions.
        activation: Keras activation name.
        kernel_deviation: of the truncated normal distribution that kernels start from; None: Xavier's.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,C]``, fine to coarse.
    """

    def __init__(
        self,
        filters: Sequence[int] = (512, 256, 256, 256),
        strides: Sequence[int] = (2, 2, 1, 1),
        paddings: Sequence[int] = (1, 1, 0, 0),
        last_kernel_size: int = 3,
        l2_norm_scale: float | None = 20.0,
        depthwise: bool = False,
        norm: Norm = None,
        activation: str = "relu",
        kernel_deviation: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.l2_norm = None if l2_norm_scale is None else L2Norm(l2_norm_scale)
        kernel_sizes = [3] * (len(filters) - 1) + [last_kernel_size]
        shrinks = any(size > 2 * padding + 1 for size, padding in zip(kernel_sizes, paddings, strict=True))
        self.build_size = 300 if shrinks else 0  # on smaller images the last levels have no pixel left

        shared: dict[str, Any] = {"norm": norm, "activation": activation}

        def kernels() -> Any:
            return "glorot_uniform" if kernel_deviation is None else truncated_normal(kernel_deviation)

        def squeeze(filters: int) -> ConvModule:
            return ConvModule(filters, 1, kernel_initializer=kernels(), **shared)

        def expand(filters: int, **arguments: Any) -> keras.Layer:
            arguments = {"kernel_initializer": kernels(), **shared, **arguments}
            if depthwise:
                return SeparableConvModule(filters // 2, filters, **arguments)
            return ConvModule(filters, **arguments)

        self.extra_layers = [
            [squeeze(width // 2), expand(width, kernel_size=kernel_size, stride=stride, padding=padding)]
            for width, kernel_size, stride, padding in zip(
                filters, kernel_sizes, strides, paddings, strict=True
            )
        ]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        outputs = [inputs[0] if self.l2_norm is None else self.l2_norm(inputs[0]), *inputs[1:]]
        for squeeze, expand in self.extra_layers:
            outputs.append(expand(squeeze(outputs[-1])))
        return tuple(outputs)
