"""Convolutions that standardise their filters."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.layers.conv import Conv2D
from kdet.layers.conv_module import register_conv
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Shape, Tensor


def centered_filters(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Filters ``[h,w,C,F]`` less their mean, and their (sample) variance ``[F]``."""
    kernel = tf.convert_to_tensor(kernel)
    centered = kernel - tf.reduce_mean(kernel, [0, 1, 2])
    count = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
    return centered, tf.reduce_sum(tf.square(centered), [0, 1, 2]) / (count - 1)


@register_conv("conv_ws")
@register
class StandardisedConv2D(Conv2D):
    """Convolution with weight standardisation (Qiao et al., 2019, arXiv:1903.10520).

    Every filter is brought to zero mean and unit (sample) deviation before it is applied.

    Args:
        epsilon: added to the deviation.
        other arguments: see ``Conv2D``.
    """

    def __init__(self, filters: int, kernel_size: int, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.epsilon = epsilon

    def effective_kernel(self) -> Tensor:
        centered, variance = centered_filters(self.kernel)
        return centered / (tf.sqrt(variance) + self.epsilon)


@register_conv("conv_aws")
@register
class AdaptiveConv2D(Conv2D):
    """Weight standardisation that keeps the filters' first scale and mean (DetectoRS, arXiv:2006.02334).

    The standardised filter is scaled by ``weight_gamma`` and moved by ``weight_beta``, constants that are
    taken from the pre-trained filters (see ``kdet.convert.rules``).

    Args:
        filters: output channels.
        kernel_size, stride, padding, dilation: int or (y, x).
        groups: groups of channels that are convolved apart.
        use_bias: add a bias.
    """

    torch_tensors = {
        **Conv2D.torch_tensors,
        "weight_gamma": ("weight_gamma", "conv"),
        "weight_beta": ("weight_beta", "conv"),
    }

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        shape = (1, 1, 1, self.filters)
        self.weight_gamma = self.add_weight(
            name="weight_gamma", shape=shape, initializer="ones", trainable=False
        )
        self.weight_beta = self.add_weight(
            name="weight_beta", shape=shape, initializer="zeros", trainable=False
        )

    def effective_kernel(self) -> Tensor:
        centered, variance = centered_filters(self.kernel)
        gamma, beta = (tf.cast(x, centered.dtype) for x in (self.weight_gamma, self.weight_beta))
        return gamma * centered / tf.sqrt(variance + 1e-5) + beta


@register_conv("sac")
@register
class SwitchableConv2D(NoXla, AdaptiveConv2D):
    """Switchable atrous convolution (DetectoRS, arXiv:2006.02334).

    Mixes, pixel by pixel, a deformable convolution with one of three times the dilation and slightly
    different filters; the mean of the map is fed in before and after.

    Args:
        filters: output channels.
        kernel_size, stride, padding, dilation: int or (y, x).
        groups: groups of channels that are convolved apart.
        use_bias: add a bias.

    Call: ``[B,h,w,C] -> [B,h',w',filters]``; the map has at least 3x3 pixels.
    """

    build_size = 128  # reflects a map at stride 32 by two pixels

    torch_tensors = {**AdaptiveConv2D.torch_tensors, "weight_diff": ("weight_diff", "conv")}

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        zeros: dict[str, Any] = {"kernel_initializer": "zeros"}
        self.weight_diff = self.add_weight(name="weight_diff", shape=self.kernel.shape, initializer="zeros")
        self.switch = Conv2D(1, 1, stride=self.stride, bias_initializer="ones", **zeros)
        self.pre_context = Conv2D(input_shape[-1], 1, **zeros)
        self.post_context = Conv2D(self.filters, 1, **zeros)
        offsets = 2 * self.kernel_size[0] * self.kernel_size[1]
        self.offset_s = Conv2D(offsets, 3, stride=self.stride, padding=1, **zeros)
        self.offset_l = Conv2D(offsets, 3, stride=self.stride, padding=1, **zeros)

    def call(self, x: Tensor) -> Tensor:
        x = x + self.pre_context(tf.reduce_mean(x, [1, 2], keepdims=True))
        around = tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]], mode="REFLECT")
        around = tf.nn.avg_pool2d(around, 5, 1, "VALID")
        kernel, switch = self.effective_kernel(), self.switch(around)
        wider = kernel + tf.cast(self.weight_diff, kernel.dtype)
        small = self._deform(x, kernel, self.offset_s(around), reach=1)
        large = self._deform(x, wider, self.offset_l(around), reach=3)
        y = switch * small + (1 - switch) * large
        return self.add_bias(y + self.post_context(tf.reduce_mean(y, [1, 2], keepdims=True)))

    def _deform(self, x: Tensor, kernel: Tensor, offsets: Tensor, reach: int) -> Tensor:
        (pad_y, pad_x), (step_y, step_x) = self.padding, self.dilation
        return ops.deform_conv2d(
            x, tf.cast(kernel, x.dtype), offsets, strides=self.stride, padding=(reach * pad_y, reach * pad_x),
            dilations=(reach * step_y, reach * step_x), groups=self.groups,
        )  # fmt: skip
