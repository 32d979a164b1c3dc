"""Assignment of the points nearest to each object's center (RepPoints, Yang et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class NearestPointAssigner(Assigner):
    """Every object takes the points nearest to its center, on the level that fits its size.

    Args:
        scale: an object of this many strides belongs to the level of that stride.
        num_positive: points per object.
    """

    uses_points = True

    def __init__(self, scale: float = 4, num_positive: int = 1) -> None:
        self.scale, self.num_positive = scale, num_positive

    def __call__(
        self, priors: Tensor, targets: Targets, valid: Tensor | None = None, predictions: Tensor | None = None
    ) -> Assignment:
        """Assigns points to objects; arguments as in ``PointInBoxAssigner``.

        Returns:
            ``Assignment``; a point that several objects want goes to the nearest, then the first.
        """
        boxes, real = targets["boxes"], targets["labels"] >= 0
        size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)  # [B, G, 2]
        levels = tf.cast(log2(priors[:, 2]), tf.int32)  # [P]
        level = tf.cast(tf.reduce_mean(log2(size / self.scale), -1), tf.int32)  # [B, G]
        level = tf.clip_by_value(level, tf.reduce_min(levels), tf.reduce_max(levels))
        apart = (priors[:, :2] - geometry.centers(boxes)[:, :, None, :]) / size[:, :, None, :]
        distance = tf.norm(apart, axis=-1)  # [B, G, P]
        eligible = (level[..., None] == levels) & real[..., None]
        usable = tf.ones(tf.shape(distance)[::2], bool) if valid is None else valid
        distance = tf.where(eligible & usable[:, None, :], distance, float("inf"))
        nearest = -tf.math.top_k(-distance, self.num_positive).values[..., -1:]
        distance = tf.where(distance <= nearest, distance, float("inf"))
        index = tf.argmin(distance, 1, tf.int32)  # [B, P]
        index = tf.where(tf.reduce_any(distance < float("inf"), 1), index, -1)
        return Assignment(index, tf.cast(usable, tf.float32))


def log2(x: Tensor) -> Tensor:
    """Logarithm to the base 2, exact for the powers of two that strides are."""
    return tf.experimental.numpy.log2(x)
