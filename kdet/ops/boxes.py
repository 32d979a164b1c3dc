"""IoU as the suppression ops take it."""

import tensorflow as tf

from kdet.typing import Tensor


def iou_with(first: Tensor, second: Tensor, epsilon: float = 0.0) -> Tensor:
    """IoU of boxes ``[...,4]`` that broadcast against each other; no +1.

    Boxes that do not overlap have an IoU of 0. ``epsilon`` is the least union, also where areas overflow.
    """
    low = tf.maximum(first[..., :2], second[..., :2])
    high = tf.minimum(first[..., 2:], second[..., 2:])
    sides = tf.maximum(high - low, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    union = area(first) + area(second) - overlap
    union = tf.where(union > epsilon, union, epsilon)  # not tf.maximum: infinity less infinity is NaN
    return tf.where(overlap > 0.0, overlap / union, 0.0)


def area(boxes: Tensor) -> Tensor:
    """Width times height, ``[...]``."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
