"""Values of bit-packed masks at points between the pixels, and their areas."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.typing import Tensor


def sample_packed_masks(packed_masks: Tensor, points: Tensor, gt_index: Tensor) -> Tensor:
    """Bilinear samples of instance masks; off the mask the value is 0. No gradient.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        points: ``[B,N,P,2]`` float32 (x, y) in pixels; pixel centers lie at one half.
        gt_index: ``[B,N]`` int32 into G, the mask that the points of a row ask for.

    Returns:
        ``[B,N,P]`` float32 in [0, 1].
    """
    shape = tf.shape(packed_masks)
    height, row_bytes = shape[2], shape[3]
    data = tf.reshape(packed_masks, [-1])
    mask = (tf.maximum(gt_index, 0) + tf.range(shape[0])[:, None] * shape[1])[..., None]  # [B, N, 1]
    place = tf.stop_gradient(points) - 0.5
    corner = tf.floor(place)
    fraction, corner = place - corner, tf.cast(corner, tf.int32)
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            inside = (x >= 0) & (x < row_bytes * 8) & (y >= 0) & (y < height)
            x, y = tf.clip_by_value(x, 0, row_bytes * 8 - 1), tf.clip_by_value(y, 0, height - 1)
            byte = tf.cast(tf.gather(data, (mask * height + y) * row_bytes + x // 8), tf.int32)
            bit = tf.cast(tf.bitwise.right_shift(byte, 7 - x % 8) & 1, tf.float32)
            share = tf.abs(1 - dx - fraction[..., 0]) * tf.abs(1 - dy - fraction[..., 1])
            total += tf.where(inside, bit * share, 0.0)
    return total


def packed_masks_at(packed_masks: Tensor, points: Tensor, gt_index: Tensor) -> Tensor:
    """The pixels of instance masks that points lie in; off the mask the value is 0. No gradient.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        points: ``[B,N,P,2]`` float32 (x, y) in pixels; pixel centers lie at one half.
        gt_index: ``[B,N]`` int32 into G, the mask that the points of a row ask for.

    Returns:
        ``[B,N,P]`` float32, 0 or 1.
    """
    shape = tf.shape(packed_masks)
    height, row_bytes = shape[2], shape[3]
    mask = (tf.maximum(gt_index, 0) + tf.range(shape[0])[:, None] * shape[1])[..., None]  # [B, N, 1]
    place = tf.cast(tf.round(tf.stop_gradient(points) - 0.5), tf.int32)
    x, y = tf.unstack(place, axis=-1)
    inside = (x >= 0) & (x < row_bytes * 8) & (y >= 0) & (y < height)
    x, y = tf.clip_by_value(x, 0, row_bytes * 8 - 1), tf.clip_by_value(y, 0, height - 1)
    byte = tf.gather(tf.reshape(packed_masks, [-1]), (mask * height + y) * row_bytes + x // 8)
    bit = tf.bitwise.right_shift(tf.cast(byte, tf.int32), 7 - x % 8) & 1
    return tf.where(inside, tf.cast(bit, tf.float32), 0.0)


def packed_mask_areas(packed_masks: Tensor) -> Tensor:
    """Pixels of every mask: ``[B,G,H,ceil(W/8)]`` uint8 -> ``[B,G]`` float32."""
    bits = tf.raw_ops.PopulationCount(x=packed_masks)
    return tf.reduce_sum(tf.cast(bits, tf.float32), [2, 3])


def packed_mask_centers(packed_masks: Tensor) -> Tensor:
    """Centers of mass of masks, in pixels counted from 0: float32 ``[B,G,2]`` (y, x), 0 for empty ones.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
    """
    height, row_bytes = tf.shape(packed_masks)[2], tf.shape(packed_masks)[3]
    in_row = tf.reduce_sum(tf.cast(tf.raw_ops.PopulationCount(x=packed_masks), tf.int32), 3)
    area = tf.reduce_sum(in_row, 2)
    y = tf.reduce_sum(in_row * tf.range(height), 2)
    x = tf.zeros_like(y)
    for bit in range(8):  # one bit of every byte at a time: all together would be eight times the masks
        set_bits = tf.bitwise.right_shift(packed_masks, tf.cast(7 - bit, tf.uint8)) & 1
        in_column = tf.reduce_sum(tf.cast(set_bits, tf.int32), 2)
        x += tf.reduce_sum(in_column * (8 * tf.range(row_bytes) + bit), 2)
    center = tf.cast(tf.stack([y, x], -1), tf.float32)
    return center / tf.maximum(tf.cast(area, tf.float32), 1e-6)[..., None]


def packed_areas_in_boxes(packed_masks: Tensor, boxes: Tensor, gt_index: Tensor) -> Tensor:
    """Pixels of masks within boxes of whole pixels. No gradient.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        boxes: ``[B,N,4]`` int32 xyxy, x2 and y2 exclusive.
        gt_index: ``[B,N]`` int32 into G, the mask of each box.

    Returns:
        ``[B,N]`` float32.
    """
    rows, first_bits = tf.range(tf.shape(packed_masks)[2]), 8 * tf.range(tf.shape(packed_masks)[3])

    def one_image(arguments: Sequence[Tensor]) -> Tensor:
        masks, boxes, index = arguments
        x1, y1, x2, y2 = (c[:, None] for c in tf.unstack(boxes, axis=-1))
        # of every byte, the bits from the column x1 on without those from x2 on
        left, right = (tf.bitwise.right_shift(255, tf.clip_by_value(x - first_bits, 0, 8)) for x in (x1, x2))
        columns = tf.cast(tf.maximum(left - right, 0), tf.uint8)[:, None, :]  # [N, 1, bytes]
        inside = (rows >= y1) & (rows < y2)  # [N, H]
        bits = tf.bitwise.bitwise_and(tf.gather(masks, tf.maximum(index, 0)), columns)
        counts = tf.reduce_sum(tf.cast(tf.raw_ops.PopulationCount(x=bits), tf.float32), -1)
        return tf.reduce_sum(tf.where(inside, counts, 0.0), -1)

    spec = tf.TensorSpec([None], tf.float32)
    return tf.map_fn(one_image, (packed_masks, boxes, gt_index), fn_output_signature=spec)
