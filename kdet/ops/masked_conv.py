"""Convolution at the places that a mask marks (guided anchoring, Wang et al. 2019)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_shapes, convolved_sizes, pair
from kdet.ops.empty import convolve_empty, has_no_images
from kdet.typing import Pair, Tensor


def masked_conv2d(
    x: Tensor,
    mask: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    strides: int | Pair = (1, 1),
    padding: int | Pair = (0, 0),
    implementation: str | None = None,
) -> Tensor:
    """A convolution whose output is 0, without bias, where the mask is not positive.

    Args:
        x: ``[B,H,W,in]``.
        mask: ``[B,H',W']`` of any numeric dtype or bool.
        kernel: ``[kh,kw,in,out]``; bias: ``[out]`` or None.
        strides, padding: ``(y, x)`` or an int; padding is symmetric.

    Returns:
        ``[B,H',W',out]`` of the dtype of ``x``. Differentiable in x, kernel and bias. The compiled form
        computes the marked places only.
    """
    strides, padding = (
        pair("masked_conv2d", "strides", strides, 1),
        pair("masked_conv2d", "padding", padding, 0),
    )
    x, mask, kernel = tf.convert_to_tensor(x), tf.convert_to_tensor(mask), tf.convert_to_tensor(kernel)
    mask = mask if mask.dtype == tf.bool else mask > 0
    kernel = tf.cast(kernel, x.dtype)
    bias = tf.zeros([kernel.shape[3]], x.dtype) if bias is None else tf.cast(bias, x.dtype)
    check_shapes("masked_conv2d", x=(x, "B H W in"), kernel=(kernel, "kh kw in out"), bias=(bias, "out"))
    sizes = convolved_sizes(x, kernel, strides, padding)
    check_shapes("masked_conv2d", sizes, mask=(mask, "B H' W'"))
    form = dispatch.choose(
        "masked_conv2d", implementation, portable=_portable, compiled_form=_compiled, dtype=x.dtype
    )
    out = form(x, mask, kernel, bias, strides=strides, padding=padding)
    return tf.ensure_shape(out, [*mask.shape, kernel.shape[3]])


def _compiled(x: Tensor, mask: Tensor, kernel: Tensor, bias: Tensor, **attributes: Any) -> Tensor:
    return compiled.library().kdet_masked_conv(x=x, mask=mask, kernel=kernel, bias=bias, **attributes)


@tf.RegisterGradient("KdetMaskedConv")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    x, mask, kernel, _ = op.inputs
    for_x, for_kernel, for_bias = compiled.library().kdet_masked_conv_grad(
        upstream=upstream,
        x=x,
        mask=mask,
        kernel=kernel,
        strides=op.get_attr("strides"),
        padding=op.get_attr("padding"),
    )
    return for_x, None, for_kernel, for_bias


def _portable(x: Tensor, mask: Tensor, kernel: Tensor, bias: Tensor, strides: Pair, padding: Pair) -> Tensor:
    pads = [[0, 0], [padding[0]] * 2, [padding[1]] * 2, [0, 0]]
    if has_no_images(x):
        everywhere = convolve_empty(x, kernel, strides, padding, (1, 1))
    else:
        everywhere = tf.nn.conv2d(x, kernel, strides, pads)
    return tf.where(mask[..., None], everywhere + bias, tf.zeros([], x.dtype))
