"""Deformable convolution, plain (Dai et al. 2017) and modulated (Zhu et al. 2019)."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes, convolved_sizes, known_size, pair
from kdet.ops.bilinear import bilinear_rows
from kdet.ops.marks import marked
from kdet.typing import Pair, Tensor


def deform_conv2d(
    x: Tensor,
    kernel: Tensor,
    offsets: Tensor,
    mask: Tensor | None = None,
    *,
    strides: int | Pair = (1, 1),
    padding: int | Pair = (0, 0),
    dilations: int | Pair = (1, 1),
    groups: int = 1,
    deform_groups: int = 1,
    implementation: str | None = None,
) -> Tensor:
    """Convolution whose every kernel cell looks at a learned place instead of the grid's.

    Args:
        x: ``[B,H,W,in]``.
        kernel: ``[kh,kw,in/groups,out]``.
        offsets: ``[B,H',W',deform_groups*kh*kw*2]`` in pixels, channels in the order (deform
            group, kernel row, kernel column, (y, x)).
        mask: ``[B,H',W',deform_groups*kh*kw]``, factor of each sample (after its sigmoid), or None
            for the plain form.
        strides, padding, dilations: ``(y, x)`` or an int; padding is symmetric.
        groups: groups of the convolution.
        deform_groups: input channels are cut into so many parts with offsets of their own.

    Returns:
        ``[B,H',W',out]`` of the dtype of ``x``. Differentiable in all four tensors.
    """
    strides, padding = (
        pair("deform_conv2d", "strides", strides, 1),
        pair("deform_conv2d", "padding", padding, 0),
    )
    dilations = pair("deform_conv2d", "dilations", dilations, 1)
    groups = at_least("deform_conv2d", "groups", groups, 1)
    deform_groups = at_least("deform_conv2d", "deform_groups", deform_groups, 1)
    x, kernel = tf.convert_to_tensor(x), tf.convert_to_tensor(kernel)
    offsets = tf.convert_to_tensor(offsets)
    check_shapes("deform_conv2d", x=(x, "B H W in"), kernel=(kernel, "kh kw in/groups out"))
    for tensor, name in ((x, "x"), (offsets, "offsets")):
        known_size("deform_conv2d", name, tensor, -1)
    cells = kernel.shape[0] * kernel.shape[1]
    if offsets.shape[-1] != deform_groups * cells * 2:
        raise ValueError(
            f"deform_conv2d: {deform_groups} deform groups and a {kernel.shape[0]}x{kernel.shape[1]} kernel "
            f"need {deform_groups * cells * 2} offset channels, not {offsets.shape[-1]}."
        )
    if x.shape[-1] != kernel.shape[2] * groups or kernel.shape[3] % groups or x.shape[-1] % deform_groups:
        raise ValueError(
            f"deform_conv2d: an input of {x.shape[-1]} channels, a kernel of shape {tuple(kernel.shape)} "
            f"(kh, kw, in/groups, out), groups={groups} and deform_groups={deform_groups} do not fit."
        )
    kernel = tf.cast(kernel, x.dtype)
    # Positions need float32: in half precision a place past 1000 pixels has lost its fraction.
    offsets = tf.cast(offsets, tf.float32)
    mask = tf.ones_like(offsets[..., ::2]) if mask is None else tf.cast(mask, tf.float32)
    sizes = convolved_sizes(x, kernel, strides, padding, dilations)
    samples = deform_groups * cells
    check_shapes(
        "deform_conv2d", sizes, offsets=(offsets, f"B H' W' {2 * samples}"), mask=(mask, f"B H' W' {samples}")
    )
    form = dispatch.choose(
        "deform_conv2d",
        implementation,
        portable=_portable,
        compiled_form=_by_columns if dispatch.on_gpu() else _direct,
        dtype=x.dtype,
    )
    result = form(
        x,
        kernel,
        offsets,
        mask,
        strides=strides,
        padding=padding,
        dilations=dilations,
        groups=groups,
        deform_groups=deform_groups,
    )
    return tf.ensure_shape(result, [*offsets.shape[:3], kernel.shape[3]])


def _direct(x: Tensor, kernel: Tensor, offsets: Tensor, mask: Tensor, **attributes: Any) -> Tensor:
    """One op that gathers and multiplies tile by tile, for CPUs."""
    return compiled.library().kdet_deform_conv(x=x, kernel=kernel, offsets=offsets, mask=mask, **attributes)


@tf.RegisterGradient("KdetDeformConv")
def _direct_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor]:
    x, kernel, offsets, mask = op.inputs
    names = ("strides", "padding", "dilations", "groups", "deform_groups")
    return compiled.library().kdet_deform_conv_grad(
        upstream=upstream,
        x=x,
        kernel=kernel,
        offsets=offsets,
        mask=mask,
        **{name: op.get_attr(name) for name in names},
    )


def _by_columns(x: Tensor, kernel: Tensor, offsets: Tensor, mask: Tensor, **attributes: Any) -> Tensor:
    """Gathers all that every output pixel sees, for TensorFlow's matrix product: the form for GPUs.

    The columns are as large as kh * kw inputs (with as many pixels as the output). They are gathered once
    more for the backward pass rather than kept for it.
    """
    library, groups, shape = compiled.library(), attributes["groups"], kernel.shape.as_list()
    attributes = {**attributes, "kernel_size": shape[:2]}

    @tf.custom_gradient
    def convolve(
        x: Tensor, kernel: Tensor, offsets: Tensor, mask: Tensor
    ) -> tuple[Tensor, Callable[..., Any]]:
        seen = {"x": x, "offsets": offsets, "mask": mask, **attributes}
        # [groups, cells * in/groups, out/groups]
        weights = _split(tf.reshape(kernel, [-1, shape[3]]), groups)
        total = _merge(tf.matmul(library.kdet_deform_columns(**seen), weights))
        out_shape = tf.concat([tf.shape(offsets)[:3], shape[3:]], 0)

        def backward(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            up = _split(tf.reshape(upstream, [-1, shape[3]]), groups)
            # In a graph neither the gathering nor the second product may be done ahead of its time: columns
            # that are alike would be shared with the forward pass, and both products' be held at once.
            with tf.control_dependencies([upstream]):
                columns = library.kdet_deform_columns(**seen)
            for_kernel = tf.reshape(_merge(tf.matmul(columns, up, transpose_a=True)), shape)
            del columns
            with tf.control_dependencies([for_kernel]):
                for_columns = tf.matmul(up, weights, transpose_b=True)
            for_x, for_offsets, for_mask = library.kdet_deform_columns_grad(upstream=for_columns, **seen)
            return for_x, for_kernel, for_offsets, for_mask

        return tf.reshape(total, out_shape), backward

    return convolve(x, kernel, offsets, mask)


def _split(rows: Tensor, groups: int) -> Tensor:
    """``[N,C]`` -> ``[groups,N,C/groups]``."""
    if groups == 1:
        return tf.expand_dims(rows, 0)
    return tf.transpose(tf.reshape(rows, [-1, groups, rows.shape[1] // groups]), [1, 0, 2])


def _merge(parts: Tensor) -> Tensor:
    """The inverse of `_split`."""
    groups, _, width = parts.shape
    rows = parts if groups == 1 else tf.transpose(parts, [1, 0, 2])
    return tf.reshape(rows, [-1, groups * width])


@marked("deform_conv2d")
def _portable(
    x: Tensor,
    kernel: Tensor,
    offsets: Tensor,
    mask: Tensor,
    strides: Pair,
    padding: Pair,
    dilations: Pair,
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Gathers what every kernel cell sees, then one matrix product per group."""
    kh, kw, _, out = kernel.shape
    cells, channels = kh * kw, x.shape[-1]
    batch, height, width = (tf.shape(x)[k] for k in range(3))
    out_height, out_width = tf.shape(offsets)[1], tf.shape(offsets)[2]
    # Samples in the order (image, row, column, deform group, kernel cell).
    grid = tf.stack([batch, out_height, out_width, deform_groups, cells])
    image = tf.range(batch)[:, None, None, None, None] * (height * width * deform_groups)
    first = tf.broadcast_to(image + tf.range(deform_groups)[:, None], grid)
    # unstacked: TensorFlow's TFLite runtime has no strided slices of six dimensions
    offset_y, offset_x = tf.unstack(tf.reshape(offsets, tf.concat([grid, [2]], 0)), num=2, axis=-1)
    cell_y, cell_x = tf.range(cells) // kw * dilations[0], tf.range(cells) % kw * dilations[1]
    rows = (tf.range(out_height) * strides[0] - padding[0])[None, :, None, None, None] + cell_y
    columns = (tf.range(out_width) * strides[1] - padding[1])[None, None, :, None, None] + cell_x
    y = tf.cast(rows, tf.float32) + offset_y
    x_ = tf.cast(columns, tf.float32) + offset_x
    table = tf.reshape(x, [-1, channels // deform_groups])
    samples = (tf.reshape(v, [-1]) for v in (y, x_, mask))
    seen = bilinear_rows(table, tf.reshape(first, [-1]), height, width, deform_groups, *samples)
    # [B*H'*W', deform groups, cells, C/dg] -> [B*H'*W', groups, cells * C/groups]
    seen = tf.reshape(seen, [-1, deform_groups, cells, channels // deform_groups])
    seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [-1, cells, groups, channels // groups])
    seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [-1, groups, cells * channels // groups])
    weights = tf.reshape(kernel, [cells * channels // groups, groups, out // groups])
    total = tf.einsum("ngi,igo->ngo", seen, weights)
    return tf.reshape(total, tf.stack([batch, out_height, out_width, out]))
