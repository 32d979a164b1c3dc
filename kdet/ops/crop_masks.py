"""Mask targets: ground-truth masks cropped to boxes and resized, from bit-packed masks."""

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.any_size import any_size
from kdet.ops.arguments import check_shapes, pair
from kdet.ops.empty import is_empty
from kdet.ops.ranking import inverse_permutation
from kdet.ops.roi_taps import AxisTaps
from kdet.typing import Pair, Tensor

# One step unpacks a tile of this many rows and bytes for every RoI of a group.
_TILE_ROWS, _TILE_BYTES, _GROUP = 64, 16, 16


def crop_masks(
    packed_masks: Tensor,
    boxes: Tensor,
    gt_index: Tensor,
    output_size: int | Pair,
    implementation: str | None = None,
) -> Tensor:
    """Binary mask targets of boxes: RoIAlign (aligned, adaptive) of the mask, then ``>= 0.5``.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        boxes: ``[B,N,4]`` float32 xyxy in the masks' pixels.
        gt_index: ``[B,N]`` int32 into G. A negative index gives an empty target.
        output_size: int or ``(mh, mw)``.

    Returns:
        ``[B,N,mh,mw]`` float32 of 0 and 1. No gradient.
    """
    output_size = pair("crop_masks", "output_size", output_size, 1)
    packed_masks, gt_index = tf.convert_to_tensor(packed_masks), tf.cast(gt_index, tf.int32)
    if packed_masks.dtype != tf.uint8:
        raise ValueError(f"crop_masks: packed_masks must be uint8, not {packed_masks.dtype.name}.")
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    check_shapes(
        "crop_masks",
        packed_masks=(packed_masks, "B G H bytes"),
        boxes=(boxes, "B N 4"),
        gt_index=(gt_index, "B N"),
    )
    form = dispatch.choose("crop_masks", implementation, portable=_portable, compiled_form=_compiled)
    if is_empty(boxes) or (form is _portable and is_empty(packed_masks)):
        form = _empty
    targets = form(packed_masks, boxes, gt_index, output_size=output_size)
    return tf.ensure_shape(targets, [*boxes.shape[:2], *output_size])


def _empty(packed_masks: Tensor, boxes: Tensor, gt_index: Tensor, output_size: Pair) -> Tensor:
    return tf.zeros(tf.concat([tf.shape(boxes)[:2], output_size], 0))


def _compiled(packed_masks: Tensor, boxes: Tensor, gt_index: Tensor, output_size: Pair) -> Tensor:
    return compiled.library().kdet_crop_masks(
        packed_masks=packed_masks,
        boxes=boxes,
        gt_index=gt_index,
        bins_y=output_size[0],
        bins_x=output_size[1],
    )


tf.no_gradient("KdetCropMasks")


@any_size
def _portable(packed_masks: Tensor, boxes: Tensor, gt_index: Tensor, output_size: Pair) -> Tensor:
    shape = tf.shape(packed_masks)
    instances, height, width_bytes = shape[1], shape[2], shape[3]
    data = tf.reshape(packed_masks, [-1])
    if dispatch.on_gpu():  # where TensorFlow gathers no uint8
        data = tf.cast(data, tf.int32)
    count = boxes.shape[:2].num_elements() or tf.shape(boxes)[0] * tf.shape(boxes)[1]
    # A box without an instance has no extent, and so no taps.
    rois = tf.reshape(tf.where(gt_index[..., None] >= 0, boxes, 0.0), [-1, 4]) - 0.5
    rois = tf.where(tf.reduce_all(tf.math.is_finite(rois), axis=-1, keepdims=True), rois, 0.0)
    instance = tf.maximum(gt_index, 0) + tf.range(shape[0])[:, None] * instances
    first_byte = tf.reshape(instance, [-1]) * height * width_bytes  # [M]

    groups = (count + _GROUP - 1) // _GROUP
    extents = rois[:, 2:] - rois[:, :2]
    order = tf.argsort(extents[:, 0] * extents[:, 1], stable=True)

    def grouped(values: Tensor) -> Tensor:
        values = tf.gather(values, order)
        return tf.reshape(tf.pad(values, [[0, groups * _GROUP - count]]), [groups, _GROUP])

    sizes = (tf.fill([count], height), tf.fill([count], width_bytes * 8))
    axes = [AxisTaps(rois[:, 1 - k], extents[:, 1 - k], sizes[k], output_size[k], 0) for k in (0, 1)]
    axes = [axis.map(grouped) for axis in axes]
    first_byte = grouped(first_byte)

    def crop_group(index: Tensor) -> Tensor:
        y, x = (axis.map(lambda values: values[index][:, None, None]) for axis in axes)
        top, bottom = _pixel_range(y)
        left, right = _pixel_range(x)
        left, right = left // 8, right // 8  # whole bytes
        across = tf.reduce_max(right - left) // _TILE_BYTES + 1
        down = tf.reduce_max(bottom - top) // _TILE_ROWS + 1

        def add(k: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            rows = top + (k // across) * _TILE_ROWS + tf.range(_TILE_ROWS)  # [R,1,64]
            columns = left + (k % across) * _TILE_BYTES + tf.range(_TILE_BYTES)  # [R,1,16]
            offset = tf.minimum(rows, height - 1) * width_bytes
            at = tf.squeeze(offset, 1)[:, :, None] + tf.minimum(columns, width_bytes - 1)
            tile = unpack_bits(tf.gather(data, at + first_byte[index][:, None, None]))  # [R,64,128]
            pixels = tf.reshape(columns[..., None] * 8 + tf.range(8), [_GROUP, 1, -1])
            weight_y = y.adaptive_weight(tf.range(output_size[0])[:, None], tf.cast(rows, tf.float32))
            weight_x = x.adaptive_weight(tf.range(output_size[1])[:, None], tf.cast(pixels, tf.float32))
            return k + 1, total + tf.matmul(tf.matmul(weight_y, tile), weight_x, transpose_b=True)

        start = tf.zeros([_GROUP, *output_size])
        total = tf.while_loop(lambda k, _: k < down * across, add, (0, start))[1]
        # boxes on whole pixels give exact halves, which the sums may miss by a rounding
        return tf.cast(total >= 0.5 - 1e-5, tf.float32)

    spec = tf.TensorSpec([_GROUP, *output_size], tf.float32)
    targets = tf.map_fn(crop_group, tf.range(groups), fn_output_signature=spec)
    targets = tf.gather(tf.reshape(targets, [-1, *output_size]), inverse_permutation(order))
    return tf.reshape(targets, tf.concat([tf.shape(boxes)[:2], output_size], 0))


def unpack_bits(packed: Tensor) -> Tensor:
    """uint8 ``[...,K]`` -> float32 ``[...,8*K]`` of 0 and 1, most significant bit first."""
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.int32)
    bits = tf.bitwise.right_shift(tf.cast(packed, tf.int32)[..., None], shifts) & 1
    return tf.cast(tf.reshape(bits, tf.concat([tf.shape(packed)[:-1], [-1]], 0)), tf.float32)


def _pixel_range(axis: AxisTaps) -> tuple[Tensor, Tensor]:
    """First and last pixel that a RoI can take from, clipped to the mask."""
    low = tf.cast(tf.floor(tf.clip_by_value(axis.start, -1.0, 1e9)), tf.int32)
    high = tf.clip_by_value(axis.start + axis.step * float(axis.bins), -1.0, 1e9)
    high = tf.cast(tf.math.ceil(high), tf.int32)
    last = tf.maximum(axis.size - 1, 0)
    return tf.clip_by_value(low, 0, last), tf.clip_by_value(high, 0, last)
