"""Box arithmetic shared by assigners, losses and heads. Boxes are ``[..., 4]`` xyxy, no +1."""

import math

import tensorflow as tf

from kdet.typing import Tensor


def area(boxes: Tensor) -> Tensor:
    """Areas ``[...]``, of arrays too; negative sides count as they are (padding boxes give 0)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def is_real_box(boxes: Tensor) -> Tensor:
    """True where a padded box list holds a box (finite, positive width and height): ``[...]`` bool."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]) & is_finite(boxes)


def is_finite(rows: Tensor) -> Tensor:
    """True where no number of a row ``[..., n]`` is NaN or infinite: ``[...]`` bool."""
    return tf.reduce_all(tf.math.is_finite(rows), -1)


def finite_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ``[..., n]``, those that are not finite as zeros, and which are finite, ``[...]`` bool."""
    finite = is_finite(rows)
    return tf.where(finite[..., None], rows, 0.0), finite


def scale_boxes(boxes: Tensor, factor: float | Tensor) -> Tensor:
    """Boxes ``[..., 4]`` with their sides times ``factor`` and the same centers."""
    center, half = (boxes[..., :2] + boxes[..., 2:]) * 0.5, (boxes[..., 2:] - boxes[..., :2]) * (0.5 * factor)
    return tf.concat([center - half, center + half], -1)


def centers(boxes: Tensor) -> Tensor:
    """Middle points ``[..., 2]`` (x, y)."""
    return (boxes[..., :2] + boxes[..., 2:]) * 0.5


def from_center_size(boxes: Tensor) -> Tensor:
    """Corners ``[..., 4]`` of boxes given as (cx, cy, w, h)."""
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5
    return tf.concat([center - half, center + half], -1)


def to_center_size(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) ``[..., 4]`` of boxes given by their corners."""
    return tf.concat([centers(boxes), boxes[..., 2:] - boxes[..., :2]], -1)


def pairwise_iou(a: Tensor, b: Tensor, mode: str = "iou", epsilon: float = 1e-6) -> Tensor:
    """IoU of every pair.

    Args:
        a: ``[..., N, 4]``.
        b: ``[..., M, 4]``.
        mode: "iou", or "iof" to divide by the area of ``a`` alone.

    Returns:
        ``[..., N, M]``.
    """
    a, b = a[..., :, None, :], b[..., None, :, :]
    intersection = _pairwise_intersection(a, b)
    whole = area(a) if mode == "iof" else area(a) + area(b) - intersection
    return intersection / tf.maximum(whole, epsilon)


def pairwise_giou(a: Tensor, b: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Generalized IoU of every pair of ``a [..., N, 4]`` and ``b [..., M, 4]``: ``[..., N, M]``."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    intersection = _pairwise_intersection(a, b)
    union = area(a) + area(b) - intersection
    width, height = (
        tf.maximum(tf.maximum(a[..., i + 2], b[..., i + 2]) - tf.minimum(a[..., i], b[..., i]), 0.0)
        for i in (0, 1)
    )
    enclosing = tf.maximum(width * height, epsilon)
    return intersection / tf.maximum(union, epsilon) - (enclosing - union) / enclosing


def _pairwise_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Common areas of ``a [...,N,1,4]`` and ``b [...,1,M,4]``: ``[...,N,M]``."""
    # a side at a time: pairs of two numbers in the last axis take twice as long
    width, height = (
        tf.maximum(tf.minimum(a[..., i + 2], b[..., i + 2]) - tf.maximum(a[..., i], b[..., i]), 0.0)
        for i in (0, 1)
    )
    return width * height


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    size = tf.minimum(a[..., 2:], b[..., 2:]) - tf.maximum(a[..., :2], b[..., :2])
    size = tf.maximum(size, 0.0)
    return size[..., 0] * size[..., 1]


def aligned_iou(a: Tensor, b: Tensor, mode: str = "iou", epsilon: float = 1e-6) -> Tensor:
    """IoU of boxes pair by pair: plain, generalized, distance or complete.

    Args:
        a, b: ``[..., 4]``, broadcastable.
        mode: "iou", "giou" (Rezatofighi et al., 2019), "diou" or "ciou" (Zheng et al., 2020).

    Returns:
        ``[...]``; plain IoU in [0, 1], the others in [-1, 1].
    """
    intersection = _intersection(a, b)
    union = area(a) + area(b) - intersection
    if mode in ("diou", "ciou"):
        union += epsilon
    iou = intersection / tf.maximum(union, epsilon)
    if mode == "iou":
        return iou
    hull = tf.maximum(a[..., 2:], b[..., 2:]) - tf.minimum(a[..., :2], b[..., :2])
    hull = tf.maximum(hull, 0.0)
    if mode == "giou":
        enclosing = tf.maximum(hull[..., 0] * hull[..., 1], epsilon)
        return iou - (enclosing - union) / enclosing
    diagonal = tf.reduce_sum(tf.square(hull), -1) + epsilon
    apart = (a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])
    distance = tf.reduce_sum(tf.square(apart), -1) / 4.0
    if mode == "diou":
        return iou - distance / diagonal
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    angle = tf.atan(size_b[..., 0] / (size_b[..., 1] + epsilon)) - tf.atan(
        size_a[..., 0] / (size_a[..., 1] + epsilon)
    )
    aspect = 4.0 / math.pi**2 * tf.square(angle)
    weight = tf.stop_gradient(tf.where(iou > 0.5, aspect / (1.0 - iou + aspect), 0.0))
    return iou - (distance / diagonal + weight * aspect)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes cut to the image.

    Args:
        boxes: ``[B, ..., 4]``.
        size: ``[B,2]`` (h, w).
    """
    limit = tf.stack([size[:, 1], size[:, 0]] * 2, -1)
    limit = tf.reshape(limit, [-1] + [1] * (boxes.shape.rank - 2) + [4])
    return tf.clip_by_value(boxes, 0.0, limit)
