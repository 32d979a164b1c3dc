"""Losses of sets of predictions of which several answer for each object (Zhang et al., 2023)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners import HungarianAssigner
from kdet.assigners.base import objects_of
from kdet.assigners.hungarian import cheapest
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class OneToManyCriterion(Component):
    """Quality focal loss of all predictions and IoU loss of the matched ones, both by how well they fit.

    Every object is matched with its ``matches`` cheapest predictions, but no prediction with two objects. How
    well one fits is ``score^alpha * iou^beta``, scaled so that the object's best has the object's best IoU.

    Args:
        assigner: gives the costs; as in MMDetection it takes probabilities for logits.
        loss_cls: loss of probabilities.
        loss_iou: gets boxes in pixels.
        matches: predictions of an object.
        alpha, beta: see above.
    """

    def __init__(
        self,
        assigner: HungarianAssigner,
        loss_cls: Loss,
        loss_iou: Loss,
        matches: int = 4,
        alpha: float = 1.0,
        beta: float = 6.0,
    ) -> None:
        self.assigner, self.loss_cls, self.loss_iou = assigner, loss_cls, loss_iou
        self.matches, self.alpha, self.beta = matches, alpha, beta

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets, info: ImageInfo) -> list[Losses]:
        """Losses of several sets, such as those of all decoder layers.

        Args:
            logits: ``[L,B,Q,C]``.
            boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
            targets: the data contract's dict.
            info: ImageInfo.

        Returns:
            A list of ``L`` dicts with ``loss_cls`` and ``loss_bbox``.
        """
        scores, size = tf.sigmoid(tf.cast(logits, tf.float32)), size_as_box(info["valid_size"])
        assignments = self.assign(scores, boxes, targets, size)
        corners = geometry.from_center_size(boxes) * size
        sets = zip(tf.unstack(scores), tf.unstack(corners), assignments)
        return [self.set_losses(*one, targets) for one in sets]

    def assign(self, scores: Tensor, boxes: Tensor, targets: Targets, size: Tensor) -> list[Assignment]:
        """Which predictions answer for which object, per set ``[B,Q]``."""
        cost = self.assigner.costs(scores, boxes, targets, size)
        real = objects_of(targets)[1]
        each = tf.shape(cost)[2] // tf.maximum(tf.reduce_sum(tf.cast(real, tf.int32), 1), 1)
        times = tf.range(self.matches) < tf.minimum(each, self.matches)[:, None]  # [B, matches]
        places = tf.reshape(real[..., None] & times[:, None], [tf.shape(real)[0], -1])
        found = cheapest(tf.repeat(cost, self.matches, axis=3), places)
        return [one._replace(gt_index=one.gt_index // self.matches) for one in found]

    def set_losses(self, scores: Tensor, corners: Tensor, assignment: Assignment, targets: Targets) -> Losses:
        """Losses of one set ``[B,Q,...]``; ``corners`` in pixels."""
        labels = assignment.labels(targets, background=scores.shape[-1])
        truth = assignment.gather(targets["boxes"])
        column = tf.one_hot(labels, scores.shape[-1])
        fit = tf.stop_gradient(self.fit(scores, corners, truth, column, assignment, targets))
        with_objects = tf.reduce_any(objects_of(targets)[1], 1, keepdims=True)
        weight = tf.broadcast_to(tf.cast(with_objects, tf.float32), tf.shape(fit))
        count = tf.maximum(replica_mean(tf.reduce_sum(fit)), 1.0)
        return {
            "loss_cls": self.loss_cls(scores, column * fit[..., None], weight, count),
            "loss_bbox": self.loss_iou(corners, truth, fit, count),
        }

    def fit(
        self,
        scores: Tensor,
        corners: Tensor,
        truth: Tensor,
        column: Tensor,
        assignment: Assignment,
        targets: Targets,
    ) -> Tensor:
        """How well every matched prediction fits ``[B,Q]``; 0 for others."""
        overlap = geometry.aligned_iou(corners, truth)
        fit = tf.pow(tf.reduce_sum(scores * column, -1), self.alpha) * tf.pow(overlap, self.beta)
        objects = tf.shape(targets["labels"])[1]
        mine = assignment.gt_index[..., None] == tf.range(objects)  # [B, Q, G]
        best_fit, best_overlap = (
            assignment.gather(tf.reduce_max(tf.where(mine, value[..., None], 0.0), 1))
            for value in (fit, overlap)
        )
        return tf.where(assignment.positive, fit / (best_fit + 1e-7) * best_overlap, 0.0)
