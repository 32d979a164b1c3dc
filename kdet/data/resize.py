"""Sizes and pixels of a resized picture, equal to the reference's ``cv2.resize`` on uint8.

OpenCV interpolates uint8 pictures in 11-bit fixed point. ``resize_bilinear`` does the same sums, in
float32 because TensorFlow's float kernels are faster and hold all but the last product exactly: about
two values in a million differ, by one. ``tf.image.resize`` differs by one in 10-13 % of the values.
"""

import tensorflow as tf


def keep_ratio_size(size, limit):
    """Size of a picture after fitting it into ``limit`` with its aspect ratio kept.

    Args:
        size: int ``[2]`` (h, w).
        limit: int ``[2]``, the largest allowed long and short side, in any order.

    Returns:
        int32 ``[2]`` (h, w): ``int(side * factor + 0.5)`` in float64 for each side.
    """
    size, limit = tf.cast(size, tf.float64), tf.cast(limit, tf.float64)
    factor = tf.minimum(
        tf.reduce_max(limit) / tf.reduce_max(size), tf.reduce_min(limit) / tf.reduce_min(size)
    )
    return tf.maximum(tf.cast(size * factor + 0.5, tf.int32), 1)


def fitted(size, limit):
    """``keep_ratio_size`` in plain Python: (h, w)."""
    factor = min(max(limit) / max(size), min(limit) / min(size))
    return tuple(max(int(side * factor + 0.5), 1) for side in size)


def nearest_index(source, target):
    """Which of ``source`` rows each of ``target`` rows copies (``cv2.INTER_NEAREST``): int32 ``[target]``."""
    step = 1.0 / (tf.cast(target, tf.float64) / tf.cast(source, tf.float64))
    index = tf.cast(tf.floor(tf.range(target, dtype=tf.float64) * step), tf.int32)
    return tf.minimum(index, source - 1)


def resize_bilinear(image, size):
    """Resizes ``[h, w, C]`` uint8 or float32 to ``size`` (h, w), same dtype.

    float32 pictures are interpolated in float, as OpenCV does for them.
    """
    same = tf.reduce_all(tf.shape(image)[:2] == size)
    return tf.cond(same, lambda: image, lambda: _interpolate(image, size))


def _interpolate(image, size):
    if image.dtype != tf.uint8:
        return tf.image.resize(image, size, antialias=False)
    left, right, left_weight, right_weight = _taps(tf.shape(image)[1], size[1], clamp=True)
    above, below, above_weight, below_weight = _taps(tf.shape(image)[0], size[0], clamp=False)
    pixels = tf.cast(image, tf.float32)
    rows = tf.gather(pixels, left, axis=1) * (left_weight / 16)[:, None]
    rows = tf.floor(rows + tf.gather(pixels, right, axis=1) * (right_weight / 16)[:, None])  # [h, W, C]
    upper = tf.floor(tf.gather(rows, above) * (above_weight / 65536)[:, None, None])
    lower = tf.floor(tf.gather(rows, below) * (below_weight / 65536)[:, None, None])
    return tf.cast((upper + lower + 2) * 0.25, tf.uint8)  # [H, W, C]


def _taps(source, target, clamp):
    """The two source positions of every target position and their weights (0..2048, whole numbers).

    OpenCV clamps the weights at the border along x only (``clamp``); along y it sums the same row
    twice, which rounds differently.
    """
    step = 1.0 / (tf.cast(target, tf.float64) / tf.cast(source, tf.float64))
    position = tf.cast((tf.range(target, dtype=tf.float64) + 0.5) * step - 0.5, tf.float32)
    first = tf.floor(position)
    fraction = position - first
    first = tf.cast(first, tf.int32)
    if clamp:
        fraction = tf.where((first < 0) | (first >= source - 1), 0.0, fraction)
    second_weight = tf.round(fraction * 2048)
    first_weight = tf.round((1 - fraction) * 2048)
    last = source - 1
    return (
        tf.clip_by_value(first, 0, last),
        tf.clip_by_value(first + 1, 0, last),
        first_weight,
        second_weight,
    )
