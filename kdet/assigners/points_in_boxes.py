"""Assignment of points by the box that they lie in (FCOS, Tian et al., 2019)."""

from collections.abc import Sequence

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class PointInBoxAssigner(Assigner):
    """A point is positive for the smallest object around it whose size belongs to the point's level.

    Args:
        strides: of the levels.
        regress_ranges: (low, high) per level; the largest distance from the point to a side of the box must
            lie in between, ends included.
        center_radius: only points so many strides around the center of the box; None for the whole box.
    """

    def __init__(
        self,
        strides: Sequence[int],
        regress_ranges: Sequence[Sequence[float]],
        center_radius: float | None = None,
    ) -> None:
        if len(strides) != len(regress_ranges):
            raise ValueError(
                f"PointInBoxAssigner: {len(strides)} strides and {len(regress_ranges)} regress_ranges; "
                "give one range per level."
            )
        self.strides = tf.constant(strides, tf.float32)
        self.regress_ranges = tf.constant(regress_ranges, tf.float32)
        self.center_radius = center_radius

    def __call__(
        self, priors: Tensor, targets: Targets, valid: Tensor | None = None, predictions: Tensor | None = None
    ) -> Assignment:
        """Assigns points to objects.

        Args:
            priors: ``[P,3]`` (x, y, stride).
            targets: the data contract's dict.
            valid: bool ``[B,P]``, points that may be used; None for all.

        Returns:
            ``Assignment``; of several objects the smallest, then the first.
        """
        boxes = targets["boxes"][:, :, None, :]  # [B, G, 1, 4]
        points, stride = priors[:, :2], priors[:, 2:]
        lower, upper = points - boxes[..., :2], boxes[..., 2:] - points  # [B, G, P, 2]
        inside = tf.minimum(lower, upper)
        if self.center_radius is not None:
            inside = tf.minimum(inside, self._within_center(boxes, points, stride * self.center_radius))
        reach = tf.reduce_max(tf.maximum(lower, upper), -1)  # [B, G, P]
        ranges = tf.gather(self.regress_ranges, tf.argmax(stride == self.strides, -1))  # [P, 2]
        eligible = tf.reduce_all(inside > 0.0, -1) & (reach >= ranges[:, 0]) & (reach <= ranges[:, 1])
        eligible &= (targets["labels"] >= 0)[..., None]
        area = tf.where(eligible, geometry.area(boxes), float("inf"))
        index = tf.argmin(area, 1, tf.int32)  # [B, P]
        index = tf.where(tf.reduce_any(eligible, 1), index, -1)
        weight = tf.ones(tf.shape(index)) if valid is None else tf.cast(valid, tf.float32)
        return Assignment(index, weight)

    def _within_center(self, boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
        """Distance to the nearer side, per axis, of the square around the center cut to the box."""
        center, radius = geometry.centers(boxes), reach
        lower = tf.maximum(center - radius, boxes[..., :2])
        upper = tf.minimum(center + radius, boxes[..., 2:])
        return tf.minimum(points - lower, upper - points)
