"""Sizes and pixels of a resized image, equal to the reference's ``cv2.resize``.

OpenCV interpolates uint8 images in 11-bit fixed point. Where it is installed it does the work itself, at
a sixth of the cost of TensorFlow operations. Elsewhere the same sums are done in float32, which holds all
but the last product exactly: about two values in a million differ, by one. (``tf.image.resize`` differs by
one in 10-13 % of the values.)
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

try:
    import cv2
except ImportError:
    cv2 = None


def keep_ratio_size(size: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Size of an image after fitting it into ``limit`` with its aspect ratio kept.

    Args:
        size: int ``[2]`` (h, w).
        limit: int ``[2]``, the largest allowed long and short side, in any order.

    Returns:
        int32 ``[2]`` (h, w): ``int(side * factor + 0.5)`` in float64 for each side.
    """
    size, limit = tf.cast(size, tf.float64), tf.cast(limit, tf.float64)
    return _times(
        size,
        tf.minimum(tf.reduce_max(limit) / tf.reduce_max(size), tf.reduce_min(limit) / tf.reduce_min(size)),
    )


def inside_size(size: tf.Tensor, room: tf.Tensor) -> tf.Tensor:
    """As ``keep_ratio_size``, but ``room`` is (h, w): height and width do not change roles."""
    size = tf.cast(size, tf.float64)
    return _times(size, tf.reduce_min(tf.cast(room, tf.float64) / size))


def scaled_size(size: tf.Tensor, factor: tf.Tensor | float) -> tf.Tensor:
    """``scaled`` in a graph: int32 ``[2]`` (h, w)."""
    limit = tf.cast(tf.cast(size, tf.float64) * tf.cast(factor, tf.float64), tf.int32)
    return keep_ratio_size(size, limit)


def _times(size: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.cast(size * factor + 0.5, tf.int32), 1)


def fitted(size: Sequence[int], limit: Sequence[int]) -> tuple[int, int]:
    """``keep_ratio_size`` in plain Python: (h, w)."""
    factor = min(max(limit) / max(size), min(limit) / min(size))
    height, width = (max(int(side * factor + 0.5), 1) for side in size)
    return height, width


def scaled(size: Sequence[int], factor: float) -> tuple[int, int]:
    """An image's (h, w) times a factor, its aspect ratio kept as ``fitted`` does."""
    return fitted(size, [int(side * factor) for side in size])


def nearest_index(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Which of ``source`` rows each of ``target`` rows copies (``cv2.INTER_NEAREST``): int32 ``[target]``."""
    step = 1.0 / (tf.cast(target, tf.float64) / tf.cast(source, tf.float64))
    index = tf.cast(tf.floor(tf.range(target, dtype=tf.float64) * step), tf.int32)
    return tf.minimum(index, source - 1)


def resize_bilinear(
    image: tf.Tensor, size: tf.Tensor, portable: bool = False, antialias: bool = False
) -> tf.Tensor:
    """Resizes ``[h, w, 3]`` uint8 or float32 to ``size`` (h, w), same dtype.

    float32 images are interpolated in float, as OpenCV does for them. ``portable``: by TensorFlow
    operations alone even where OpenCV is installed, for graphs that leave this process. ``antialias``: a
    smaller image is a mean of all pixels, as PIL and torchvision make it (within a gray level of theirs).
    """
    interpolate = portable_bilinear if portable or cv2 is None else _opencv_bilinear
    interpolate = antialiased if antialias else interpolate
    same = tf.reduce_all(tf.shape(image)[:2] == size)
    return tf.cond(same, lambda: image, lambda: interpolate(image, size))


def antialiased(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """``resize_bilinear`` whose window grows with the factor by which an image shrinks."""
    resized = tf.image.resize(tf.cast(image, tf.float32), size, antialias=True)
    if image.dtype != tf.uint8:
        return resized
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def _opencv_bilinear(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    def run(pixels: np.ndarray, size: np.ndarray) -> np.ndarray:
        return cv2.resize(pixels, (int(size[1]), int(size[0])), interpolation=cv2.INTER_LINEAR)

    resized = tf.numpy_function(run, [image, size], image.dtype, stateful=False)
    return tf.ensure_shape(resized, [None, None, 3])


def portable_bilinear(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """``resize_bilinear`` in TensorFlow operations alone."""
    if image.dtype != tf.uint8:
        return tf.image.resize(image, size, antialias=False)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    left, right, left_weight, right_weight = _taps(width, size[1], clamp=True)
    above, below, above_weight, below_weight = _taps(height, size[0], clamp=False)
    # Gathering whole rows is far cheaper than gathering pixels, so columns are made rows for a while.
    columns = tf.reshape(tf.transpose(tf.cast(image, tf.float32), [1, 0, 2]), [width, -1])  # [w, h*3]
    columns = tf.gather(columns, left) * (left_weight / 16)[:, None] + (
        tf.gather(columns, right) * (right_weight / 16)[:, None]
    )
    rows = tf.transpose(tf.reshape(tf.floor(columns), [size[1], height, 3]), [1, 0, 2])
    rows = tf.reshape(rows, [height, -1])  # [h, W*3]
    upper = tf.floor(tf.gather(rows, above) * (above_weight / 65536)[:, None])
    lower = tf.floor(tf.gather(rows, below) * (below_weight / 65536)[:, None])
    return tf.reshape(tf.cast((upper + lower + 2) * 0.25, tf.uint8), [size[0], size[1], 3])


def _taps(
    source: tf.Tensor, target: tf.Tensor, clamp: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
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
