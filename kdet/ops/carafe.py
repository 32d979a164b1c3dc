"""CARAFE, content-aware reassembly of features (Wang et al. 2019): upsampling with predicted kernels."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes, known_size
from kdet.typing import Tensor


def carafe(
    features: Tensor,
    masks: Tensor,
    *,
    kernel_size: int,
    groups: int = 1,
    scale: int = 2,
    implementation: str | None = None,
) -> Tensor:
    """Every output pixel is the weighted sum of the neighborhood of the pixel that it came from.

    Args:
        features: ``[B,H,W,C]``.
        masks: ``[B,scale*H,scale*W,groups*kernel_size**2]``, the weights, channels in the order
            (group, row, column); already normalized.
        kernel_size: odd side of the neighborhood. Pixels off the map count as 0.
        groups: parts of the channels with weights of their own.
        scale: whole upsampling factor.

    Returns:
        ``[B,scale*H,scale*W,C]`` of the features' dtype. Differentiable in both.
    """
    features, masks = tf.convert_to_tensor(features), tf.convert_to_tensor(masks)
    kernel_size, groups, scale = (
        at_least("carafe", name, value, 1)
        for name, value in (("kernel_size", kernel_size), ("groups", groups), ("scale", scale))
    )
    for name, tensor in (("features", features), ("masks", masks)):
        known_size("carafe", name, tensor, -1)
    if masks.shape[-1] != groups * kernel_size**2 or features.shape[-1] % groups or kernel_size % 2 == 0:
        raise ValueError(
            f"carafe: kernel_size={kernel_size} (odd) and groups={groups} need "
            f"{groups * kernel_size**2} mask channels and a multiple of {groups} feature channels, not "
            f"{masks.shape[-1]} and {features.shape[-1]}."
        )
    check_shapes("carafe", features=(features, "B H W C"))
    height, width = (None if size is None else scale * size for size in features.shape[1:3])
    sizes = {"B": features.shape[0], "scale*H": height, "scale*W": width}
    check_shapes("carafe", sizes, masks=(masks, "B scale*H scale*W K"))
    form = dispatch.choose(
        "carafe", implementation, portable=_portable, compiled_form=_compiled, dtype=features.dtype
    )
    upsampled = form(
        features, tf.cast(masks, features.dtype), kernel_size=kernel_size, groups=groups, scale=scale
    )
    return tf.ensure_shape(upsampled, [*masks.shape[:3], features.shape[-1]])


def _compiled(features: Tensor, masks: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    return compiled.library().kdet_carafe(
        features=features, masks=masks, kernel_size=kernel_size, groups=groups, scale=scale
    )


@tf.RegisterGradient("KdetCarafe")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    attributes = {name: op.get_attr(name) for name in ("kernel_size", "groups", "scale")}
    return compiled.library().kdet_carafe_grad(
        upstream=upstream, features=op.inputs[0], masks=op.inputs[1], **attributes
    )


def _portable(features: Tensor, masks: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    batch, height, width = (tf.shape(features)[k] for k in range(3))
    channels, radius = features.shape[-1], kernel_size // 2
    padded = tf.pad(features, [[0, 0], [radius, radius], [radius, radius], [0, 0]])
    shifts = [(y, x) for y in range(kernel_size) for x in range(kernel_size)]
    near = tf.stack([padded[:, y : y + height, x : x + width] for y, x in shifts], axis=3)
    # images and rows are one axis, N: TFLite moves six axes at most, and multiplies three
    rows = batch * height
    near = tf.reshape(near, tf.stack([rows, width, len(shifts), groups, channels // groups]))
    near = tf.transpose(near, [0, 1, 3, 2, 4])  # [N,W,G,K,C/G]
    weights = tf.reshape(masks, tf.stack([rows, scale, width, scale, groups, len(shifts)]))
    weights = tf.transpose(weights, [0, 2, 4, 1, 3, 5])  # [N,W,G,s,s,K]
    weights = tf.reshape(weights, [-1, scale * scale, len(shifts)])
    summed = tf.matmul(weights, tf.reshape(near, [-1, len(shifts), channels // groups]))  # [NWG,s*s,C/G]
    shape = tf.stack([rows, width, groups, scale, scale, channels // groups])
    summed = tf.transpose(tf.reshape(summed, shape), [0, 3, 1, 4, 2, 5])  # [N,s,W,s,G,C/G]
    return tf.reshape(summed, tf.stack([batch, height * scale, width * scale, channels]))
