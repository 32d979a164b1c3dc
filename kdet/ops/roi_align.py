"""RoIAlign over one map or over all levels of a pyramid, in one call.

Mask R-CNN, He et al. 2017. A bin's value is the mean of bilinear samples on a regular grid. The mean is
separable: along each axis a bin is a short list of taps (pixel, weight), and its value is the
double sum over taps. RoIs are sorted by their number of taps and treated in groups of equal
static size, so that the work follows the real size of the RoIs although every shape is static.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.any_size import any_size
from kdet.ops.arguments import at_least, check_shapes, known_size, pair
from kdet.ops.empty import is_empty, zeros_linked_to
from kdet.ops.marks import marked
from kdet.ops.roi_groups import pool_groups, scatter_back
from kdet.ops.roi_taps import AxisTaps
from kdet.typing import Maps, Pair, Tensor


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: int | Pair,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    implementation: str | None = None,
) -> Tensor:
    """RoIAlign (average) of boxes on one feature map.

    Args:
        features: ``[B,H,W,C]`` float32, float16 or bfloat16.
        boxes: ``[B,N,4]`` float32 xyxy in pixels of the input image. Row ``b`` samples map ``b``.
        output_size: bins per RoI, int or ``(ph, pw)``.
        spatial_scale: map pixels per input pixel, ``1 / stride``.
        sampling_ratio: samples per bin and axis; 0 adapts it to the RoI: ``ceil(roi / bins)``.
        aligned: True shifts by half a pixel; False is the legacy form, which also gives every RoI
            at least one map pixel of width and height.
        implementation: see `kdet.ops.use`.

    Returns:
        ``[B,N,ph,pw,C]`` of the features' dtype. Boxes of no area (padding) give 0 with
        ``aligned``; boxes that hold NaN or infinity give NaN. Differentiable in ``features`` only.
    """
    levels = tf.zeros(tf.shape(boxes)[:2], tf.int32)
    return _roi_align(
        (features,), boxes, levels, output_size, (spatial_scale,), sampling_ratio, aligned, implementation
    )


def multilevel_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    output_size: int | Pair,
    strides: Sequence[int],
    sampling_ratio: int = 0,
    aligned: bool = True,
    implementation: str | None = None,
) -> Tensor:
    """RoIAlign where every box takes from the pyramid level that it was assigned to.

    Args:
        features: tuple of ``[B,h,w,C]`` maps, one per level, of one dtype and number of channels.
        boxes: ``[B,N,4]`` float32 xyxy in pixels of the input image.
        levels: ``[B,N]`` int32, index into ``features``.
        output_size: int or ``(ph, pw)``.
        strides: stride per level.
        sampling_ratio, aligned, implementation: as in `roi_align`.

    Returns:
        ``[B,N,ph,pw,C]`` of the features' dtype. Differentiable in ``features`` only.
    """
    scales = tuple(1.0 / stride for stride in strides)
    return _roi_align(
        tuple(features), boxes, levels, output_size, scales, sampling_ratio, aligned, implementation
    )


def _roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    output_size: int | Pair,
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    implementation: str | None,
) -> Tensor:
    attributes = dict(
        output_size=pair("roi_align", "output_size", output_size, 1),
        scales=scales,
        sampling_ratio=at_least("roi_align", "sampling_ratio", sampling_ratio, 0),
        aligned=bool(aligned),
    )
    boxes, levels = tf.stop_gradient(tf.cast(boxes, tf.float32)), tf.cast(levels, tf.int32)
    features = check_pyramid("roi_align", features, scales, boxes, levels)
    form = dispatch.choose(
        "roi_align", implementation, portable=_portable, compiled_form=_compiled, dtype=features[0].dtype
    )
    # levels may lie without pixels, and the portable form's table of all pixels then must have some
    if is_empty(boxes) or (form is _portable and all(is_empty(f) for f in features)):
        form = _empty
    return form(features, boxes, levels, **attributes)


def check_pyramid(
    op: str,
    features: Sequence[Tensor],
    scales: Sequence[float],
    boxes: Tensor,
    levels: Tensor,
    **others: tuple[Tensor, str],
) -> tuple[Tensor, ...]:
    """The maps as tensors, if maps, strides, boxes, levels (and ``others``) fit together."""
    features = tuple(tf.convert_to_tensor(f) for f in features)
    if not features or len(features) != len(scales):
        raise ValueError(
            f"{op} got {len(features)} feature maps and {len(scales)} strides; give one per level."
        )
    if len({f.dtype for f in features}) > 1:
        raise ValueError(
            f"{op}: features are of {[f.dtype.name for f in features]}, but must be of one dtype."
        )
    maps = {f"features[{k}]": (f, f"B H{k} W{k} C") for k, f in enumerate(features)}
    tensors = {**maps, "boxes": (boxes, "B N 4"), "levels": (levels, "B N"), **others}
    check_shapes(op, None, **tensors)
    return features


def _empty(features: Maps, boxes: Tensor, levels: Tensor, output_size: Pair, **_: Any) -> Tensor:
    shape = tf.concat([tf.shape(boxes)[:2], output_size, [features[0].shape[-1]]], 0)
    return zeros_linked_to(shape, features[0].dtype, *features)


def _compiled(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    output_size: Pair,
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return compiled.library().kdet_roi_align(
        features=features,
        boxes=boxes,
        levels=levels,
        bins_y=output_size[0],
        bins_x=output_size[1],
        scales=scales,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )


@tf.RegisterGradient("KdetRoiAlign")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    *features, boxes, levels = op.inputs
    gradients = compiled.library().kdet_roi_align_grad(
        upstream=upstream,
        boxes=boxes,
        levels=levels,
        shapes=[tf.shape(f) for f in features],
        **{name: op.get_attr(name) for name in ("bins_y", "bins_x", "scales", "sampling_ratio", "aligned")},
    )
    return [*gradients, None, None]


@marked("roi_align")
@any_size
def _portable(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    output_size: Pair,
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    count = tf.shape(boxes)[0] * tf.shape(boxes)[1]
    table, geometry = flatten_levels(features, levels, scales)
    rois = tf.reshape(boxes, [-1, 4]) * geometry["scale"][:, None]
    finite = tf.reduce_all(tf.math.is_finite(rois), axis=-1)
    rois = tf.where(finite[:, None], rois, 0.0) - (0.5 if aligned else 0.0)
    origin, extent = rois[:, :2], rois[:, 2:] - rois[:, :2]
    extent = extent if aligned else tf.maximum(extent, 1.0)
    roi = {
        "y": (origin[:, 1], extent[:, 1], geometry["height"]),
        "x": (origin[:, 0], extent[:, 0], geometry["width"]),
        "first_row": geometry["first_row"],
    }
    pooled = _pool(table, roi, output_size, sampling_ratio)
    pooled = tf.where(finite[:, None, None, None], pooled, tf.constant(float("nan"), pooled.dtype))
    channels = table.shape[-1]
    shape = tf.concat([tf.shape(boxes)[:2], [*output_size, channels]], 0)
    pooled = tf.reshape(pooled[:count], shape)
    return tf.ensure_shape(pooled, [*boxes.shape[:2], *output_size, channels])


def flatten_levels(
    features: Sequence[Tensor], levels: Tensor, scales: Sequence[float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """All maps as one table of pixels ``[P,C]``, and where each RoI finds its map in it."""
    heights = tf.stack([tf.shape(f)[1] for f in features])
    widths = tf.stack([tf.shape(f)[2] for f in features])
    channels = known_size("RoI pooling", "features[0]", features[0], -1)
    flat = [tf.reshape(f, [-1, channels]) for f in features]
    table = flat[0] if len(flat) == 1 else tf.concat(flat, 0)
    batch = tf.shape(levels)[0]
    starts = tf.cumsum(heights * widths * batch, exclusive=True)
    last = tf.maximum(tf.shape(table)[0] - 1, 0)  # for RoIs on a level without pixels, which have no taps
    level = tf.reshape(levels, [-1])
    image = tf.reshape(tf.broadcast_to(tf.range(batch)[:, None], tf.shape(levels)), [-1])
    height, width = tf.gather(heights, level), tf.gather(widths, level)
    geometry = {
        "height": height,
        "width": width,
        "first_row": tf.minimum(tf.gather(starts, level) + image * height * width, last),
        "scale": tf.gather(tf.constant(scales, tf.float32), level),
    }
    return table, geometry


def _pool(
    table: Tensor,
    roi: dict[str, Any],
    output_size: Pair,
    sampling_ratio: int,
) -> Tensor:
    """Pools RoIs ``[M]`` from pixels ``[P,C]`` -> ``[M,ph,pw,C]``; owns the gradient to the table."""
    axes = []
    for axis, bins in zip("yx", output_size, strict=True):
        start, extent, size = roi[axis]
        axes.append(AxisTaps(start, extent, size, bins, sampling_ratio))

    @tf.custom_gradient
    def pool(pixels: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def backward(upstream: Tensor) -> Tensor:
            return scatter_back(pixels, upstream, axes, roi["first_row"])

        return pool_groups(pixels, axes, roi["first_row"]), backward

    return pool(table)
