"""Assignment of points by the box that they lie in (FCOS, Tian et al., 2019)."""

from collections.abc import Sequence

import tensorflow as tf

from kdet import geometry, ops
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.assigners.blocks import first_best, over_objects
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
        mask_centers: around the center of mass of the object's mask instead, where the targets have masks.
    """

    def __init__(
        self,
        strides: Sequence[int],
        regress_ranges: Sequence[Sequence[float]],
        center_radius: float | None = None,
        mask_centers: bool = False,
    ) -> None:
        if len(strides) != len(regress_ranges):
            raise ValueError(
                f"PointInBoxAssigner: {len(strides)} strides and {len(regress_ranges)} regress_ranges; "
                "give one range per level."
            )
        self.strides = tf.constant(strides, tf.float32)
        self.regress_ranges = tf.constant(regress_ranges, tf.float32)
        self.center_radius, self.mask_centers = center_radius, mask_centers

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
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        points, stride = priors[:, :2], priors[:, 2:]
        ranges = tf.gather(self.regress_ranges, tf.argmax(stride == self.strides, -1))  # [P, 2]
        centers = geometry.centers(boxes)
        if self.center_radius is not None and self.mask_centers and "masks" in targets:
            centers = ops.packed_mask_centers(targets["masks"])[..., ::-1]  # (y, x) -> (x, y)

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            boxes, centers, real = some
            boxes = boxes[:, :, None, :]  # [B, g, 1, 4]
            lower, upper = points - boxes[..., :2], boxes[..., 2:] - points  # [B, g, P, 2]
            inside = tf.minimum(lower, upper)
            if self.center_radius is not None:
                reach = stride * self.center_radius
                inside = tf.minimum(inside, _within_center(boxes, centers[:, :, None], points, reach))
            reach = tf.reduce_max(tf.maximum(lower, upper), -1)  # [B, g, P]
            eligible = tf.reduce_all(inside > 0.0, -1) & (reach >= ranges[:, 0]) & (reach <= ranges[:, 1])
            eligible &= real[..., None] & usable[:, None, :]
            area = tf.where(eligible, geometry.area(boxes), float("inf"))
            return first_best(found[0], found[1], -area, first)

        none = tf.zeros_like(usable, tf.int32)
        start = tf.cast(none, tf.float32) - float("inf"), none - 1
        _, index = over_objects(add, [boxes, centers], real, start)
        return Assignment(index, tf.cast(usable, tf.float32))


def _within_center(boxes: Tensor, centers: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Distance to the nearer side, per axis, of the square around the center cut to the box."""
    lower = tf.maximum(centers - reach, boxes[..., :2])
    upper = tf.minimum(centers + reach, boxes[..., 2:])
    return tf.minimum(points - lower, upper - points)
