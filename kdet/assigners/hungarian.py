"""The cheapest one-to-one matching of predictions and objects (Carion et al., 2020)."""

import math

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import objects_of
from kdet.assigners.matching import cheapest_matching
from kdet.contract import Assignment, Targets
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class HungarianAssigner(Component):
    """Matches every object with one prediction so that the summed cost is least.

    The cost is that of class, L1 distance and generalized IoU; use the weights of the losses.

    Args:
        cls_weight, bbox_weight, iou_weight: weights of the three.
        focal: class scores are sigmoids and cost what the focal loss would; otherwise a softmax, whose
            probability counts.
        corners: the L1 distance is that of the corners, not of center and size.
        alpha, gamma: of the focal cost.
    """

    def __init__(
        self,
        cls_weight: float = 1.0,
        bbox_weight: float = 5.0,
        iou_weight: float = 2.0,
        focal: bool = False,
        corners: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        self.cls_weight, self.bbox_weight, self.iou_weight = cls_weight, bbox_weight, iou_weight
        self.focal, self.corners = focal, corners
        self.alpha, self.gamma = alpha, gamma

    def __call__(
        self, logits: Tensor, boxes: Tensor, targets: Targets, size: Tensor, usable: Tensor | None = None
    ) -> list[Assignment]:
        """Matches several sets of predictions at once.

        Args:
            logits: ``[L,B,Q,C]``, of ``L`` decoder layers.
            boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
            targets: the data contract's dict.
            size: ``[B,1,4]`` (w, h, w, h) of the images.
            usable: bool ``[L,B,Q]``, the predictions that take part; None for all.

        Returns:
            A list of ``L`` ``Assignment [B,Q]``.
        """
        cost = self.costs(tf.cast(logits, tf.float32), boxes, targets, size)
        real = objects_of(targets)[1]
        if usable is None:
            return cheapest(cost, real)
        found = cheapest(tf.where(usable[..., None], cost, math.inf), real)
        weights = tf.unstack(tf.cast(usable, tf.float32))
        return [Assignment(one.gt_index, weight) for one, weight in zip(found, weights)]

    def costs(self, logits: Tensor, boxes: Tensor, targets: Targets, size: Tensor) -> Tensor:
        """Cost of every pair ``[L,B,Q,G]``."""
        labels = tf.maximum(targets["labels"], 0)
        by_class = tf.transpose(self.class_costs(logits), [1, 0, 2, 3])  # [B, L, Q, C]
        by_class = tf.gather(by_class, labels, axis=3, batch_dims=1)  # [B, L, Q, G]
        truth = targets["boxes"] / size
        corners = geometry.from_center_size(boxes)
        # a number at a time: tables of four for every pair would need four times the memory
        ours, theirs = (corners, truth) if self.corners else (boxes, geometry.to_center_size(truth))
        distance = tf.add_n([tf.abs(ours[..., i, None] - theirs[..., None, :, i]) for i in range(4)])
        overlap = geometry.pairwise_giou(corners * size, targets["boxes"])
        cost = self.bbox_weight * distance - self.iou_weight * overlap
        return self.cls_weight * tf.transpose(by_class, [1, 0, 2, 3]) + cost

    def class_costs(self, logits: Tensor) -> Tensor:
        """Cost of every class ``[..., C]``."""
        if not self.focal:
            return -tf.nn.softmax(logits)
        p = tf.sigmoid(logits)
        found = -tf.math.log(p + 1e-12) * self.alpha * tf.pow(1.0 - p, self.gamma)
        missed = -tf.math.log(1.0 - p + 1e-12) * (1.0 - self.alpha) * tf.pow(p, self.gamma)
        return found - missed


def cheapest(cost: Tensor, real: Tensor) -> list[Assignment]:
    """The cheapest one-to-one matchings.

    Args:
        cost: of every pair of a prediction and an object ``[L,B,Q,G]``, of ``L`` sets of predictions.
        real: bool ``[B,G]``, false where a row is no object.

    Returns:
        A list of ``L`` ``Assignment [B,Q]``; all predictions count.
    """
    cost, shape = tf.stop_gradient(cost), tf.shape(cost)  # L, B, Q, G
    real = tf.broadcast_to(real, tf.gather(shape, [0, 1, 3]))
    problems = tf.reshape(cost, [-1, *tf.unstack(shape[2:])]), tf.reshape(real, [-1, shape[3]])
    matched = tf.ensure_shape(tf.reshape(cheapest_matching(*problems), shape[:3]), cost.shape[:3])
    return [Assignment(rows, tf.ones_like(rows, tf.float32)) for rows in tf.unstack(matched)]
