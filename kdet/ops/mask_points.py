"""Values of bit-packed masks at points between the pixels."""

import tensorflow as tf


def sample_packed_masks(packed_masks, points, gt_index):
    """Bilinear samples of instance masks; off the mask the value is 0. No gradient.

    Args:
        packed_masks: ``[B,G,H,ceil(W/8)]`` uint8, bits along the width, most significant first.
        points: ``[B,N,P,2]`` float32 (x, y) in pixels; pixel centres lie at one half.
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
