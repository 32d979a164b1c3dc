"""3x3 convolution for inference: Winograd's F(4x4, 3x3) (Lavin & Gray, 2016) where that is quicker."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.ops import choices, compiled, dispatch
from kdet.ops.arguments import check_shapes
from kdet.ops.empty import convolve_empty, has_no_images
from kdet.typing import Tensor

# Classes of shapes, by the least pixels of a map and the least channels: see `kdet.ops.choices`.
PIXELS = (1024, 4096)
CHANNELS = (32, 64, 128, 256, 512)
# What a map of unknown size is taken for, and what inputs must be a multiple of.
_UNKNOWN_PIXELS = 4096
_CHANNEL_STEP = 16


def conv3x3(
    x: Tensor, kernel: Tensor, bias: Tensor, relu: bool = False, implementation: str | None = None
) -> Tensor:
    """Convolution with stride 1 and padding 1, bias, and optionally a ReLU.

    The compiled form does a quarter of the products. Its rounding error is about 5e-6 of the largest
    value, ten times that of the direct sum.

    Args:
        x: ``[B,H,W,in]``.
        kernel: ``[3,3,in,out]``.
        bias: ``[out]``.
        relu: negative outputs become 0.

    Returns:
        ``[B,H,W,out]``.
    """
    x, kernel, bias = (tf.convert_to_tensor(tensor) for tensor in (x, kernel, bias))
    check_shapes("conv3x3", x=(x, "B H W in"), kernel=(kernel, "3 3 in out"), bias=(bias, "out"))
    form = dispatch.choose(
        "conv3x3", implementation, _portable, _compiled, dtype=x.dtype, dtypes=(tf.float32,)
    )
    if form is _compiled and implementation is None and not _pays(x, kernel):
        form = _portable
    return form(x, kernel, bias, relu)


def kind(x: Tensor, kernel: Tensor) -> str:
    """The class of shapes that a convolution is in."""
    # of one image: replicas with parts of a batch must decide as one device does with all of it
    pixels = choices.step(x.shape[1:3].num_elements() or _UNKNOWN_PIXELS, PIXELS)
    return f"{pixels} pixels {choices.step(min(kernel.shape[2:]), CHANNELS)} channels"


def _pays(x: Tensor, kernel: Tensor) -> bool:
    fits = kernel.shape[2] % _CHANNEL_STEP == 0 and not dispatch.on_gpu()
    return fits and choices.pays("conv3x3", kind(x, kernel))


def _portable(x: Tensor, kernel: Tensor, bias: Tensor, relu: bool) -> Tensor:
    if has_no_images(x):
        return convolve_empty(x, kernel, (1, 1), (1, 1), (1, 1)) + bias
    y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)
    return tf.nn.relu(y) if relu else y


def _compiled(x: Tensor, kernel: Tensor, bias: Tensor, relu: bool) -> Tensor:
    ops = compiled.library()

    @tf.custom_gradient
    def convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        y = ops.kdet_conv3x3(x=x, kernel=kernel, bias=bias, relu=relu)

        def backward(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            if relu:
                upstream = tf.where(y > 0.0, upstream, 0.0)
            turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            for_x = conv3x3(upstream, turned, tf.zeros(x.shape[-1:]))
            for_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=tf.shape(kernel), out_backprop=upstream, strides=[1] * 4, padding="SAME"
            )
            return for_x, for_kernel, tf.reduce_sum(upstream, [0, 1, 2])

        return y, backward

    return convolve(x, kernel, bias)
