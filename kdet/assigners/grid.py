"""YOLO's assignment: an object belongs to the cell of its center (Redmon et al., 2015)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of
from kdet.assigners.blocks import first_best, over_objects
from kdet.assigners.max_iou import best_priors
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class GridAssigner(Assigner):
    """As ``MaxIoUAssigner``, but only priors in a cell that holds some object's center become positive.

    Args:
        pos_iou: a responsible prior whose best IoU is above this is positive.
        neg_iou: priors (responsible or not) whose best IoU is at most this are background.
        min_pos_iou: an object's best responsible priors become positive when their IoU is above this.
    """

    def __init__(self, pos_iou: float = 0.5, neg_iou: float = 0.5, min_pos_iou: float = 0.0) -> None:
        self.pos_iou, self.neg_iou, self.min_pos_iou = pos_iou, neg_iou, min_pos_iou

    def __call__(
        self, priors: Tensor, targets: Targets, valid: Tensor, predictions: Tensor | None = None
    ) -> Assignment:
        """Assigns priors to objects.

        Args:
            priors: ``[P,4]``.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, the responsible priors.

        Returns:
            ``Assignment`` with the IoU of every responsible prior with its best object.
        """
        boxes, real = objects_of(targets)
        priors, finite = geometry.finite_rows(priors)
        valid &= finite

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            (boxes, real), (highest, best, index, owner) = some, found
            overlaps = geometry.pairwise_iou(boxes, priors)  # [B, g, P]
            overlaps = tf.where(real[..., None], overlaps, -1.0)
            highest = tf.maximum(highest, tf.reduce_max(overlaps, 1))
            overlaps = tf.where(valid[:, None, :], overlaps, -1.0)
            most = tf.reduce_max(overlaps, 2, keepdims=True)  # [B, g, 1]
            claimed, claimant = best_priors(overlaps, most > self.min_pos_iou)
            owner = tf.where(claimed, claimant + first, owner)  # of several the last
            return [highest, *first_best(best, index, overlaps, first), owner]

        none = tf.zeros_like(valid, tf.int32)
        nothing = tf.cast(none, tf.float32) - 1.0
        highest, best, index, owner = over_objects(add, [boxes], real, (nothing, nothing, none, none - 1))
        negative = (highest <= self.neg_iou) & finite
        index = tf.where(owner >= 0, owner, index)
        positive = tf.logical_or(best > self.pos_iou, owner >= 0)
        counted = tf.cast(tf.logical_or(positive, negative), tf.float32)
        return Assignment(tf.where(positive, index, -1), counted, tf.maximum(best, 0.0))
