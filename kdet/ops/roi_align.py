"""RoIAlign over one map or over all levels of a pyramid, in one call.

Mask R-CNN, He et al. 2017. A bin's value is the mean of bilinear samples on a regular grid. The mean is
separable: along each axis a bin is a short list of taps (pixel, weight), and its value is the
double sum over taps. RoIs are sorted by their number of taps and treated in groups of equal
static size, so that the work follows the real size of the RoIs although every shape is static.
"""

import tensorflow as tf

from kdet.ops import dispatch
from kdet.ops.roi_taps import AxisTaps

# Rows of a group times channels: the accumulator of a group stays in the second-level cache.
_GROUP_ELEMENTS = 1 << 19
# Floats that the backward pass scatters at once. TensorFlow copies the whole gradient per scatter,
# so there should be few.
_SCATTER_ELEMENTS = 1 << 24


def roi_align(
    features, boxes, output_size, spatial_scale=1.0, sampling_ratio=0, aligned=True, implementation=None
):
    """RoIAlign (average) of boxes on one feature map.

    Args:
        features: ``[B,H,W,C]`` float32, float16 or bfloat16.
        boxes: ``[B,N,4]`` float32 xyxy in pixels of the input picture. Row ``b`` samples map ``b``.
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
    features, boxes, levels, output_size, strides, sampling_ratio=0, aligned=True, implementation=None
):
    """RoIAlign where every box takes from the pyramid level that it was assigned to.

    Args:
        features: tuple of ``[B,h,w,C]`` maps, one per level, of one dtype and number of channels.
        boxes: ``[B,N,4]`` float32 xyxy in pixels of the input picture.
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


def _roi_align(features, boxes, levels, output_size, scales, sampling_ratio, aligned, implementation):
    if isinstance(output_size, int):
        output_size = (output_size, output_size)
    if len(features) != len(scales):
        raise ValueError(
            f"roi_align got {len(features)} feature maps and {len(scales)} strides; give one per level."
        )
    features = tuple(tf.convert_to_tensor(f) for f in features)
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    attributes = dict(
        output_size=tuple(output_size),
        scales=scales,
        sampling_ratio=int(sampling_ratio),
        aligned=bool(aligned),
    )
    form = dispatch.choose("roi_align", implementation, portable=_portable)
    return form(features, boxes, tf.cast(levels, tf.int32), **attributes)


# Traced once per shape: the loops inside run as a graph, also when the caller is eager.
@tf.function(reduce_retracing=True)
def _portable(features, boxes, levels, output_size, scales, sampling_ratio, aligned):
    channels = features[0].shape[-1]
    count = tf.shape(boxes)[0] * tf.shape(boxes)[1]
    table, geometry = _flatten_levels(features, levels, scales)
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
    shape = tf.concat([tf.shape(boxes)[:2], [*output_size, channels]], 0)
    pooled = tf.reshape(pooled[:count], shape)
    return tf.ensure_shape(pooled, [*boxes.shape[:2], *output_size, channels])


def _flatten_levels(features, levels, scales):
    """All maps as one table of pixels ``[P,C]``, and where each RoI finds its map in it."""
    heights = tf.stack([tf.shape(f)[1] for f in features])
    widths = tf.stack([tf.shape(f)[2] for f in features])
    channels = features[0].shape[-1]
    flat = [tf.reshape(f, [-1, channels]) for f in features]
    table = flat[0] if len(flat) == 1 else tf.concat(flat, 0)
    batch = tf.shape(levels)[0]
    starts = tf.cumsum(heights * widths * batch, exclusive=True)
    level = tf.reshape(levels, [-1])
    picture = tf.reshape(tf.broadcast_to(tf.range(batch)[:, None], tf.shape(levels)), [-1])
    height, width = tf.gather(heights, level), tf.gather(widths, level)
    geometry = {
        "height": height,
        "width": width,
        "first_row": tf.gather(starts, level) + picture * height * width,
        "scale": tf.gather(tf.constant(scales, tf.float32), level),
    }
    return table, geometry


def _pool(table, roi, output_size, sampling_ratio):
    """Pools RoIs ``[M]`` from pixels ``[P,C]`` -> ``[M,ph,pw,C]``; owns the gradient to the table."""
    axes = [AxisTaps(*roi[k], bins, sampling_ratio) for k, bins in zip("yx", output_size, strict=True)]

    @tf.custom_gradient
    def pool(pixels):
        def backward(upstream):
            return _scatter_back(pixels, upstream, axes, roi["first_row"])

        return _pool_groups(pixels, axes, roi["first_row"]), backward

    return pool(table)


def _pool_groups(table, axes, first_row):
    """The forward pass: one group of RoIs after the other, one tap of all their bins at a time."""
    bins, channels = [axis.bins for axis in axes], table.shape[-1]
    group = max(1, _GROUP_ELEMENTS // (bins[0] * bins[1] * channels))
    if first_row.shape[0] is not None:
        group = max(1, min(group, first_row.shape[0]))
    # RoIs of alike tap counts share a group, for a group costs what its largest RoI costs.
    order = tf.argsort(axes[0].taps * 65536 + axes[1].taps, stable=True)
    groups = (tf.size(order) + group - 1) // group
    padding = groups * group - tf.size(order)

    def grouped(values):
        return tf.reshape(tf.pad(tf.gather(values, order), [[0, padding]]), [groups, group])

    axes = [axis.map(grouped) for axis in axes]
    first_row = grouped(first_row)

    def pool_group(index):
        y, x = (axis.map(lambda values: values[index][:, None]) for axis in axes)  # [group,1]
        origin = first_row[index][:, None, None]
        across = tf.reduce_max(x.taps)

        def add(k, total):
            row, weight_y = y.tap(tf.range(bins[0])[None, :], k // across)  # [group,ph]
            column, weight_x = x.tap(tf.range(bins[1])[None, :], k % across)  # [group,pw]
            pixels = origin + row[:, :, None] * x.size[:, :, None] + column[:, None, :]
            weight = weight_y[:, :, None] * weight_x[:, None, :]
            values = tf.cast(tf.gather(table, tf.reshape(pixels, [-1])), tf.float32)
            return k + 1, total + values * tf.reshape(weight, [-1, 1])

        length = tf.reduce_max(y.taps) * across
        start = tf.zeros([group * bins[0] * bins[1], channels], tf.float32)
        return tf.cast(tf.while_loop(lambda k, _: k < length, add, (0, start))[1], table.dtype)

    spec = tf.TensorSpec([group * bins[0] * bins[1], channels], table.dtype)
    pooled = tf.map_fn(pool_group, tf.range(groups), fn_output_signature=spec)
    return tf.gather(tf.reshape(pooled, [-1, *bins, channels]), tf.math.invert_permutation(order))


def _scatter_back(table, upstream, axes, first_row):
    """The backward pass: the list of all (bin, tap) pairs, in chunks of static length."""
    bins, channels = [axis.bins for axis in axes], table.shape[-1]
    chunk = max(256, _SCATTER_ELEMENTS // channels)
    upstream = tf.reshape(upstream, [-1, channels])
    pairs_per_axis = [tf.cast(axis.taps, tf.int64) * axis.bins for axis in axes]
    ends = tf.cumsum(pairs_per_axis[0] * pairs_per_axis[1])
    length = tf.reduce_max(tf.concat([[tf.constant(0, tf.int64)], ends], 0))

    def scatter(start, gradient):
        pair = start + tf.range(chunk, dtype=tf.int64)
        roi = tf.minimum(tf.searchsorted(ends, pair, side="right"), tf.size(ends) - 1)
        y, x = (axis.map(lambda values: tf.gather(values, roi)) for axis in axes)  # [chunk]
        origin = tf.gather(first_row, roi)
        within = pair - tf.gather(ends, roi) + tf.gather(pairs_per_axis[0] * pairs_per_axis[1], roi)
        across = tf.maximum(tf.gather(pairs_per_axis[1], roi), 1)
        down, across = tf.cast(within // across, tf.int32), tf.cast(within % across, tf.int32)
        bin_y, bin_x = down // tf.maximum(y.taps, 1), across // tf.maximum(x.taps, 1)
        row, weight_y = y.tap(bin_y, down % tf.maximum(y.taps, 1))
        column, weight_x = x.tap(bin_x, across % tf.maximum(x.taps, 1))
        real = pair < length
        weight = tf.where(real, weight_y * weight_x, 0.0)
        pixel = tf.where(real, origin + row * x.size + column, 0)
        source = tf.where(real, (roi * bins[0] + bin_y) * bins[1] + bin_x, 0)
        values = tf.cast(tf.gather(upstream, source), tf.float32) * weight[:, None]
        return start + chunk, tf.tensor_scatter_nd_add(gradient, pixel[:, None], values)

    start = (tf.constant(0, tf.int64), tf.zeros(tf.shape(table), tf.float32))
    gradient = tf.while_loop(lambda k, _: k < length, scatter, start)[1]
    return tf.cast(gradient, table.dtype)
