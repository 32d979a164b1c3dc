"""Assignment of the points nearest to each object's center (RepPoints, Yang et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.assigners.blocks import first_best, over_objects
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
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)  # [B, G, 2]
        there = priors[:, 2] > 0.0
        levels = tf.cast(log2(tf.where(there, priors[:, 2], 1.0)), tf.int32)  # [P]
        level = tf.cast(tf.reduce_mean(log2(size / self.scale), -1), tf.int32)  # [B, G]
        lowest = tf.reduce_min(tf.where(there, levels, levels.dtype.max))
        level = tf.clip_by_value(level, lowest, tf.reduce_max(tf.where(there, levels, 0)))

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            boxes, size, level, real = some
            apart = (priors[:, :2] - geometry.centers(boxes)[:, :, None, :]) / size[:, :, None, :]
            distance = tf.norm(apart, axis=-1)  # [B, g, P]
            eligible = (level[..., None] == levels) & real[..., None]
            distance = tf.where(eligible & usable[:, None, :], distance, float("inf"))
            nearest = -tf.math.top_k(-distance, self.num_positive).values[..., -1:]
            closeness = tf.where(distance <= nearest, -distance, -float("inf"))
            return first_best(found[0], found[1], closeness, first)

        none = tf.zeros_like(usable, tf.int32)
        start = tf.cast(none, tf.float32) - float("inf"), none - 1
        _, index = over_objects(add, [boxes, size, level], real, start)
        return Assignment(index, tf.cast(usable, tf.float32))


def log2(x: Tensor) -> Tensor:
    """Logarithm to the base 2, exact for the powers of two that strides are."""
    return tf.experimental.numpy.log2(x)
