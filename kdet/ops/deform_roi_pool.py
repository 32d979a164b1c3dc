"""Deformable RoI pooling (Dai et al. 2017): RoIAlign whose every bin is moved by a learned offset."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.any_size import any_size
from kdet.ops.arguments import at_least, pair
from kdet.ops.empty import is_empty, zeros_linked_to
from kdet.ops.marks import marked
from kdet.ops.roi_align import check_pyramid, flatten_levels
from kdet.ops.roi_groups import pool_groups, scatter_back, slopes_of_groups
from kdet.ops.roi_taps import AxisTaps
from kdet.typing import Maps, Pair, Tensor


def deform_roi_pool(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    output_size: int | Pair,
    strides: Sequence[int],
    sampling_ratio: int = 0,
    gamma: float = 0.1,
    implementation: str | None = None,
) -> Tensor:
    """Aligned RoIAlign over a pyramid with bins moved by ``gamma * offset * size of the RoI``.

    The modulated form is this one's output times the predicted mask.

    Args:
        features: tuple of ``[B,h,w,C]``, one per level.
        boxes: ``[B,N,4]`` float32 xyxy in pixels of the input image.
        levels: ``[B,N]`` int32, index into ``features``.
        offsets: ``[B,N,ph,pw,2]``, (x, y) relative to the RoI's width and height; None for 0.
        output_size: int or ``(ph, pw)``.
        strides: stride per level.
        sampling_ratio: samples per bin and axis, 0 for ``ceil(roi / bins)``.

    Returns:
        ``[B,N,ph,pw,C]`` of the features' dtype. Differentiable in features and offsets. A bin whose box or
        offset holds NaN or infinity is NaN.
    """
    output_size = pair("deform_roi_pool", "output_size", output_size, 1)
    boxes, levels = tf.stop_gradient(tf.cast(boxes, tf.float32)), tf.cast(levels, tf.int32)
    shape = tf.concat([tf.shape(boxes)[:2], [*output_size, 2]], 0)
    offsets = tf.zeros(shape) if offsets is None else tf.cast(offsets, tf.float32)
    bins = " ".join(map(str, output_size))
    features = check_pyramid(
        "deform_roi_pool", features, strides, boxes, levels, offsets=(offsets, f"B N {bins} 2")
    )
    form = dispatch.choose(
        "deform_roi_pool",
        implementation,
        portable=_portable,
        compiled_form=_compiled,
        dtype=features[0].dtype,
    )
    if is_empty(boxes):
        form = _empty
    pooled = form(
        features,
        boxes,
        levels,
        offsets,
        output_size=output_size,
        scales=tuple(1.0 / stride for stride in strides),
        sampling_ratio=at_least("deform_roi_pool", "sampling_ratio", sampling_ratio, 0),
        gamma=float(gamma),
    )
    return tf.ensure_shape(pooled, [*boxes.shape[:2], *output_size, features[0].shape[-1]])


def _empty(
    features: Maps, boxes: Tensor, levels: Tensor, offsets: Tensor, output_size: Pair, **_: Any
) -> Tensor:
    shape = tf.concat([tf.shape(boxes)[:2], output_size, [features[0].shape[-1]]], 0)
    return zeros_linked_to(shape, features[0].dtype, *features, offsets)


_ATTRIBUTES = ("bins_y", "bins_x", "scales", "sampling_ratio", "aligned", "gamma")


def _compiled(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    offsets: Tensor,
    output_size: Pair,
    scales: Sequence[float],
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    return compiled.library().kdet_deform_roi_pool(
        features=features,
        boxes=boxes,
        levels=levels,
        offsets=offsets,
        bins_y=output_size[0],
        bins_x=output_size[1],
        scales=scales,
        sampling_ratio=sampling_ratio,
        aligned=True,
        gamma=gamma,
    )


@tf.RegisterGradient("KdetDeformRoiPool")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    *features, boxes, levels, offsets = op.inputs
    gradients, for_offsets = compiled.library().kdet_deform_roi_pool_grad(
        upstream=upstream,
        features=features,
        boxes=boxes,
        levels=levels,
        offsets=offsets,
        **{name: op.get_attr(name) for name in _ATTRIBUTES},
    )
    return [*gradients, None, None, for_offsets]


@marked("deform_roi_pool")
@any_size
def _portable(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    offsets: Tensor,
    output_size: Pair,
    scales: Sequence[float],
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """Every bin is a RoI of one bin of its own, which may lie anywhere."""
    table, geometry = flatten_levels(features, levels, scales)
    rois = tf.reshape(boxes, [-1, 4]) * geometry["scale"][:, None]
    real = tf.reduce_all(tf.math.is_finite(rois), axis=-1)
    real = real[:, None, None] & tf.reshape(
        tf.reduce_all(tf.math.is_finite(offsets), axis=-1), [-1, *output_size]
    )
    rois = tf.where(tf.math.is_finite(rois), rois, 0.0) - 0.5
    offsets = tf.where(tf.math.is_finite(offsets), offsets, 0.0)
    size = rois[:, 2:] - rois[:, :2]
    bins = tf.constant([output_size[1], output_size[0]], tf.float32)
    index = tf.stack(tf.meshgrid(tf.range(output_size[1]), tf.range(output_size[0])), axis=-1)  # [ph,pw,2]
    start = rois[:, None, None, :2] + tf.cast(index, tf.float32) * (size / bins)[:, None, None]
    shape = tf.shape(start)
    moved = start + gamma * size[:, None, None] * tf.reshape(offsets, shape)  # [M,ph,pw,2]
    per_bin = {name: _repeat(geometry[name], shape) for name in ("height", "width", "first_row")}
    extent = tf.reshape(tf.broadcast_to((size / bins)[:, None, None], shape), [-1, 2])
    pooled = _pool(table, tf.reshape(moved, [-1, 2]), extent, per_bin, sampling_ratio)
    pooled = tf.where(tf.reshape(real, [-1, 1, 1, 1]), pooled, tf.constant(float("nan"), pooled.dtype))
    return tf.reshape(pooled, tf.concat([tf.shape(boxes)[:2], [*output_size, table.shape[-1]]], 0))


def _repeat(per_roi: Tensor, shape: Tensor) -> Tensor:
    return tf.reshape(tf.broadcast_to(per_roi[:, None, None], shape[:3]), [-1])


def _pool(
    table: Tensor, start: Tensor, extent: Tensor, geometry: dict[str, Tensor], sampling_ratio: int
) -> Tensor:
    @tf.custom_gradient
    def pool(table: Tensor, start: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        sizes = (geometry["height"], geometry["width"])
        axes = [AxisTaps(start[:, 1 - k], extent[:, 1 - k], sizes[k], 1, sampling_ratio) for k in (0, 1)]

        def backward(upstream: Tensor) -> tuple[Tensor, Tensor]:
            for_table = scatter_back(table, upstream, axes, geometry["first_row"])
            for_y, for_x = slopes_of_groups(table, upstream, axes, geometry["first_row"])
            return for_table, tf.stack([for_x, for_y], axis=-1)

        return pool_groups(table, axes, geometry["first_row"]), backward

    return pool(table, start)
