"""Losses of sets whose class scores learn the IoU of their boxes (Zhao et al., 2023, arXiv:2304.08069)."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.query.criterion import SetCriterion
from kdet.registry import register
from kdet.typing import Tensor


@register
class QualityCriterion(SetCriterion):
    """Classification by the IoU of the matched boxes; L1 and IoU loss of those.

    Args:
        term: what the classification loss is called: ``loss_vfl`` with "vfl".
        other arguments: see ``SetCriterion``; ``loss_cls`` gets logits, one-hot classes and IoUs.
    """

    def __init__(self, term: str = "vfl", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.term = term

    def set_losses(
        self,
        logits: Tensor,
        boxes: Tensor,
        assignment: Assignment,
        targets: Targets,
        size: Tensor,
        matched: Tensor,
    ) -> Losses:
        return {
            **self.class_loss(logits, boxes, assignment, targets, size, matched),
            **self.box_losses(boxes, assignment, targets, size, matched),
        }

    def class_loss(
        self,
        logits: Tensor,
        boxes: Tensor,
        assignment: Assignment,
        targets: Targets,
        size: Tensor,
        matched: Tensor,
    ) -> Losses:
        """The classification loss of one set; arguments as in ``set_losses``."""
        truth, corners = assignment.gather(targets["boxes"]), geometry.from_center_size(boxes) * size
        classes = tf.one_hot(assignment.labels(targets, background=-1), logits.shape[-1])
        quality = tf.stop_gradient(geometry.aligned_iou(corners, truth)) * tf.cast(
            assignment.positive, tf.float32
        )
        wanted = tf.stack([classes, classes * quality[..., None]], -1)
        return {
            f"loss_{self.term}": self.loss_cls(logits, wanted, assignment.weight, tf.maximum(matched, 1.0))
        }

    def box_losses(
        self, boxes: Tensor, assignment: Assignment, targets: Targets, size: Tensor, matched: Tensor
    ) -> Losses:
        """The losses of one set on the matched boxes; arguments as in ``set_losses``."""
        positive, count = tf.cast(assignment.positive, tf.float32), tf.maximum(matched, 1.0)
        truth, corners = assignment.gather(targets["boxes"]), geometry.from_center_size(boxes) * size
        return {
            "loss_bbox": self.loss_bbox(boxes, geometry.to_center_size(truth / size), positive, count),
            "loss_giou": self.loss_iou(corners, truth, positive, count),
        }
