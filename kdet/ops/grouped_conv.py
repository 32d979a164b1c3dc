"""Convolution in groups or with dilation, with a gradient that exists on every device."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import choices, compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes, known_size, pair
from kdet.ops.empty import convolve_empty, convolved_shape, has_no_images
from kdet.typing import Pair, Tensor

# Channels of a group below which the backward pass merges neighboring groups into one convolution.
_NARROW = 16
_MOST_MERGED = 4
# Widths of a group, as many outputs as inputs, that the compiled form knows.
COMPILED_WIDTHS = (4, 8, 16, 32, 64)


def grouped_conv2d(
    x: Tensor,
    kernel: Tensor,
    strides: int | Pair = (1, 1),
    padding: int | Pair = (0, 0),
    dilations: int | Pair = (1, 1),
    groups: int = 1,
    implementation: str | None = None,
) -> Tensor:
    """2-D convolution with explicit, symmetric padding.

    TensorFlow convolves in groups and with dilation on the CPU but has no gradient of either there; where
    there is a GPU, its own is taken. This one goes backwards group by group; narrow groups are merged in
    block-diagonal kernels, which does more arithmetic in less time. With dilation it goes back by one
    matrix product per kernel cell. The compiled form has kernels for groups of 4 to 64 channels, as many
    outputs as inputs; forwards it is taken where it is the quicker one (`kdet.ops.choices`). 3x3 kernels
    without stride or dilation go by Winograd's F(2x2, 3x3) (Lavin & Gray, 2016) there, which rounds about as
    the direct sum does; those in groups of 4 and 8 channels only if all channels fill whole vectors.

    Args:
        x: ``[B,H,W,in]``.
        kernel: ``[kh,kw,in/groups,out]``.
        strides, padding, dilations: ``(y, x)`` or an int.
        groups: divides in and out.

    Returns:
        ``[B,H',W',out]``.
    """
    strides, padding = (
        pair("grouped_conv2d", "strides", strides, 1),
        pair("grouped_conv2d", "padding", padding, 0),
    )
    dilations, groups = (
        pair("grouped_conv2d", "dilations", dilations, 1),
        at_least("grouped_conv2d", "groups", groups, 1),
    )
    x, kernel = tf.convert_to_tensor(x), tf.convert_to_tensor(kernel)
    check_shapes("grouped_conv2d", x=(x, "B H W in"), kernel=(kernel, "kh kw in/groups out"))
    channels = known_size("grouped_conv2d", "x", x, -1)
    if channels != kernel.shape[2] * groups or kernel.shape[3] % groups:
        raise ValueError(
            f"grouped_conv2d: {groups} groups do not fit an input of {channels} channels and a kernel "
            f"of shape {tuple(kernel.shape)} (kh, kw, in/groups, out)."
        )
    if has_no_images(x):
        return convolve_empty(x, kernel, strides, padding, dilations)
    pads = [[0, 0], [padding[0]] * 2, [padding[1]] * 2, [0, 0]]
    if groups > 1 and groups == channels and strides[0] == strides[1] and 1 in (strides[0], max(dilations)):
        depthwise = tf.reshape(kernel, [*kernel.shape[:2], channels, kernel.shape[3] // channels])
        return tf.nn.depthwise_conv2d(
            tf.pad(x, pads), depthwise, [1, *strides, 1], "VALID", dilations=dilations
        )
    attributes = dict(
        strides=[1, *strides, 1],
        padding="EXPLICIT",
        explicit_paddings=[pad for pair in pads for pad in pair],
        dilations=[1, *dilations, 1],
    )
    if groups == 1 and max(dilations) == 1:
        return tf.raw_ops.Conv2D(input=x, filter=kernel, **attributes)

    known = kernel.shape[2] in COMPILED_WIDTHS and kernel.shape[3] == channels
    fast = _compiled_backward if known else None
    form = dispatch.choose(
        "grouped_conv2d", implementation, portable=_backward, compiled_form=fast, dtype=x.dtype
    )
    # cuDNN has gradients of groups and dilation, TensorFlow's kernels for the CPU have none.
    if form is _backward and dispatch.on_gpu():
        return tf.raw_ops.Conv2D(input=x, filter=kernel, **attributes)
    quick = form is _compiled_backward and (
        implementation is not None or choices.pays("grouped_conv2d", kind(kernel, strides, dilations))
    )

    @tf.custom_gradient
    def convolve(x: Tensor, kernel: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def backward(upstream: Tensor) -> Sequence[Tensor]:
            return form(x, kernel, upstream, groups, attributes)

        if quick:
            y = compiled.library().kdet_grouped_conv(x=x, kernel=kernel, **_of_compiled(attributes, groups))
        else:
            y = tf.raw_ops.Conv2D(input=x, filter=kernel, **attributes)
            if form is _compiled_backward and x.shape[0] is None:  # its batch may turn out to be empty
                static = y.shape
                y = tf.reshape(y, convolved_shape(x, kernel, strides, padding, dilations))
                y.set_shape(static)
        return y, backward

    return convolve(x, kernel)


def kind(kernel: Tensor, strides: Pair, dilations: Pair) -> str:
    """The class of shapes that a convolution is in: see `kdet.ops.choices`."""
    plain = kernel.shape[:2] == (3, 3) and max(*strides, *dilations) == 1
    return f"{'plain' if plain else 'other'} {kernel.shape[2]}"


def _compiled_backward(
    x: Tensor, kernel: Tensor, upstream: Tensor, groups: int, attributes: dict[str, Any]
) -> Sequence[Tensor]:
    return compiled.library().kdet_grouped_conv_grad(
        upstream=upstream, x=x, kernel=kernel, **_of_compiled(attributes, groups)
    )


def _of_compiled(attributes: dict[str, Any], groups: int) -> dict[str, int | list[int]]:
    """TensorFlow's attributes of a convolution in NHWC as (y, x), the compiled op's."""
    return dict(
        strides=attributes["strides"][1:3],
        padding=attributes["explicit_paddings"][2:6:2],
        dilations=attributes["dilations"][1:3],
        groups=groups,
    )


def _backward(
    x: Tensor, kernel: Tensor, upstream: Tensor, groups: int, attributes: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    merged = 1
    while merged < _MOST_MERGED and merged * kernel.shape[2] < _NARROW and groups % (2 * merged) == 0:
        merged *= 2
    parts = groups // merged
    xs, ups = tf.split(x, parts, axis=-1), tf.split(upstream, parts, axis=-1)
    input_gradients, kernel_gradients = [], []
    back = _convolution_gradients if max(attributes["dilations"]) == 1 else _cell_gradients
    for part, up, kernels in zip(xs, ups, tf.split(kernel, parts, axis=-1), strict=True):
        for_input, for_kernel = back(part, _block_diagonal(kernels, merged), up, attributes)
        input_gradients.append(for_input)
        kernel_gradients.append(_diagonal_blocks(for_kernel, merged))
    return tf.concat(input_gradients, -1), tf.concat(kernel_gradients, -1)


def _convolution_gradients(
    x: Tensor, kernel: Tensor, upstream: Tensor, attributes: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    for_input = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, **attributes
    )
    for_kernel = tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=tf.shape(kernel), out_backprop=upstream, **attributes
    )
    return for_input, for_kernel


def _cell_gradients(
    x: Tensor, kernel: Tensor, upstream: Tensor, attributes: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Every cell of the kernel sees a strided window of the padded input: two products per cell."""
    pads = attributes["explicit_paddings"]
    padded = tf.pad(x, [pads[0:2], pads[2:4], pads[4:6], pads[6:8]])
    strides, (_, step_y, step_x, _) = attributes["strides"], attributes["dilations"]
    batch, height, width = (tf.shape(upstream)[k] for k in range(3))
    for_input, for_kernel = tf.zeros_like(padded), []
    for cell in range(kernel.shape[0] * kernel.shape[1]):
        row, column = divmod(cell, kernel.shape[1])
        begin = tf.stack([0, row * step_y, column * step_x, 0])
        extent = tf.stack([batch, (height - 1) * strides[1] + 1, (width - 1) * strides[2] + 1, x.shape[-1]])
        window = tf.strided_slice(padded, begin, begin + extent, strides)  # [B,H',W',i]
        for_kernel.append(tf.einsum("bhwi,bhwo->io", window, upstream))
        for_input += tf.raw_ops.StridedSliceGrad(
            shape=tf.shape(padded),
            begin=begin,
            end=begin + extent,
            strides=strides,
            dy=tf.einsum("bhwo,io->bhwi", upstream, kernel[row, column]),
        )
    inside = for_input[:, pads[2] : pads[2] + tf.shape(x)[1], pads[4] : pads[4] + tf.shape(x)[2]]
    return inside, tf.reshape(tf.stack(for_kernel), kernel.shape)


def _block_diagonal(kernels: Tensor, merged: int) -> Tensor:
    """``[kh,kw,i,merged*o]`` -> ``[kh,kw,merged*i,merged*o]``, zero between groups."""
    kh, kw, inputs, outputs = kernels.shape
    split = tf.reshape(kernels, [kh, kw, 1, inputs, merged, outputs // merged])
    own = tf.eye(merged, dtype=kernels.dtype)[:, None, :, None]
    return tf.reshape(split * own, [kh, kw, merged * inputs, outputs])


def _diagonal_blocks(gradient: Tensor, merged: int) -> Tensor:
    """The inverse of `_block_diagonal`: keeps what each group gave itself."""
    kh, kw, inputs, outputs = gradient.shape
    split = tf.reshape(gradient, [kh, kw, merged, inputs // merged, merged, outputs // merged])
    own = tf.eye(merged, dtype=gradient.dtype)[:, None, :, None]
    return tf.reshape(tf.reduce_sum(split * own, axis=2), [kh, kw, inputs // merged, outputs])
