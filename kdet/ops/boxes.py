"""IoU as the suppression ops take it."""

import tensorflow as tf

from kdet.geometry import area
from kdet.typing import Tensor

_LARGEST = tf.float32.max


def candidates_only(boxes: Tensor, scores: Tensor, score_threshold: float) -> tuple[Tensor, Tensor]:
    """Scores of which those are -inf that are not above the threshold or whose box is no box.

    A NaN score is above no threshold. A box that holds NaN or infinity is lost: what it overlaps is unknown.

    Args:
        boxes: ``[B,N,4]``.
        scores: ``[B,N]`` or, per class, ``[B,N,C]``.
        score_threshold: candidates have a strictly greater score.

    Returns:
        Boxes, zeros where they are lost; scores.
    """
    finite = tf.reduce_all(tf.abs(boxes) <= _LARGEST, axis=-1)  # is_finite is no op of TFLite
    real = finite if scores.shape.rank == 2 else finite[..., None]
    boxes = tf.where(finite[..., None], boxes, 0.0)
    return boxes, tf.where(real & (scores > score_threshold), scores, float("-inf"))


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
