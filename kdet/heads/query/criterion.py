"""Losses of sets of predictions, matched one to one with the objects (Carion et al., 2020)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners import HungarianAssigner
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class SetCriterion(Component):
    """Classification of all predictions, L1 and IoU loss of the matched ones.

    Args:
        assigner: ``HungarianAssigner``; it says too whether classes are sigmoids (``focal``) and boxes
            are compared by their ``corners``.
        loss_cls, loss_bbox, loss_iou: losses; ``loss_iou`` gets boxes in pixels.
        background_weight: weight of the unmatched in a softmax loss.
    """

    def __init__(
        self,
        assigner: HungarianAssigner,
        loss_cls: Loss,
        loss_bbox: Loss,
        loss_iou: Loss,
        background_weight: float = 1.0,
    ) -> None:
        self.assigner, self.background_weight = assigner, background_weight
        self.loss_cls, self.loss_bbox, self.loss_iou = loss_cls, loss_bbox, loss_iou

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes, float32, without the background of a softmax."""
        logits = tf.cast(logits, tf.float32)
        return tf.sigmoid(logits) if self.assigner.focal else tf.nn.softmax(logits)[..., :-1]

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Targets,
        info: ImageInfo,
        usable: Tensor | None = None,
    ) -> list[Losses]:
        """Losses of several sets, such as those of all decoder layers.

        Args:
            logits: ``[L,B,Q,C]``.
            boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
            targets: the data contract's dict.
            info: ImageInfo.
            usable: bool ``[L,B,Q]``, the predictions that take part; None for all.

        Returns:
            A list of ``L`` dicts with ``loss_cls``, ``loss_bbox``, ``loss_iou``.
        """
        assignments = self.assign(logits, boxes, targets, info, usable)
        return self.losses(logits, boxes, assignments, targets, info)

    def assign(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Targets,
        info: ImageInfo,
        usable: Tensor | None = None,
    ) -> list[Assignment]:
        """Which prediction answers for which object, per set; arguments as in a call."""
        return self.assigner(logits, boxes, targets, size_as_box(info["valid_size"]), usable)

    def losses(
        self, logits: Tensor, boxes: Tensor, assignments: list[Assignment], targets: Targets, info: ImageInfo
    ) -> list[Losses]:
        """The losses of a call from what ``assign`` gave."""
        size = size_as_box(info["valid_size"])
        # every set has the same number
        matched = replica_mean(tf.reduce_sum(tf.cast(assignments[0].positive, tf.float32)))
        sets = zip(tf.unstack(logits), tf.unstack(boxes), assignments, strict=True)
        return [self.set_losses(*one, targets, size, matched) for one in sets]

    def set_losses(
        self,
        logits: Tensor,
        boxes: Tensor,
        assignment: Assignment,
        targets: Targets,
        size: Tensor,
        matched: Tensor,
    ) -> Losses:
        """Losses of one set ``[B,Q,...]``; ``matched`` pairs are in the batch."""
        positive = tf.cast(assignment.positive, tf.float32)
        count = tf.maximum(matched, 1.0)
        classes = logits.shape[-1]
        if self.assigner.focal:
            labels = assignment.labels(targets, background=classes)
            weight, normalizer = assignment.weight, count
        else:
            labels = assignment.labels(targets, background=classes - 1)
            weight = tf.where(positive > 0.0, 1.0, self.background_weight)
            unmatched = tf.cast(tf.size(labels), tf.float32) - matched
            normalizer = tf.maximum(matched + unmatched * self.background_weight, 1.0)
        truth, corners = assignment.gather(targets["boxes"]), geometry.from_center_size(boxes)
        if self.assigner.corners:
            pair = corners, truth / size
        else:
            pair = boxes, geometry.to_center_size(truth / size)
        return {
            "loss_cls": self.loss_cls(logits, labels, weight, normalizer),
            "loss_bbox": self.loss_bbox(*pair, positive, count),
            "loss_iou": self.loss_iou(corners * size, truth, positive, count),
        }


def named_by_layer(losses: list[Losses], prefix: str = "") -> Losses:
    """Losses of decoder layers under one dict: the last layer's own names, the others' with ``d0.``.

    Args:
        losses: a dict per layer.
        prefix: in front of the losses' own names.
    """
    named = {prefix + name: value for name, value in losses[-1].items()}
    for i, found in enumerate(losses[:-1]):
        named.update({f"d{i}.{prefix}{name}": value for name, value in found.items()})
    return named
