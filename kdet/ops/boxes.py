"""IoU as the suppression ops take it."""

import tensorflow as tf


def iou_with(first, second, epsilon=0.0):
    """IoU of boxes ``[...,4]`` that broadcast against each other; no +1.

    Two boxes of no area have an IoU of 0. ``epsilon`` is the least union.
    """
    low = tf.maximum(first[..., :2], second[..., :2])
    high = tf.minimum(first[..., 2:], second[..., 2:])
    sides = tf.maximum(high - low, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    union = tf.maximum(area(first) + area(second) - overlap, epsilon)
    return tf.math.divide_no_nan(overlap, union)


def area(boxes):
    """Width times height, ``[...]``."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
