"""Anchor heads that weigh their positives by importance (PISA, Cao et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels
from kdet.heads.dense.ssd import SSDHead
from kdet.losses import classification_aware_box_loss, prime_sample_weights
from kdet.registry import register
from kdet.typing import Tensor


@register
class PISASSDHead(SSDHead):
    """SSD's head with importance-based weights of the class loss and a classification-aware box loss.

    Args:
        isr_power, isr_bias: of the weights in the class loss (ISR-P).
        carl_power, carl_bias: of the weights in the additional box loss (CARL).
        other arguments: see ``SSDHead``.
    """

    def __init__(
        self,
        isr_power: float = 2.0,
        isr_bias: float = 0.0,
        carl_power: float = 1.0,
        carl_bias: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.isr, self.carl = (isr_power, isr_bias), (carl_power, carl_bias)

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        scores = flatten_levels(outputs[0], self.score_channels)
        deltas = flatten_levels(outputs[1], 4)
        labels = assignment.labels(targets, background=self.num_classes)
        positive = assignment.positive
        boxes = tf.where(positive[..., None], assignment.gather(targets["boxes"]), anchors)
        encoded = self.coder.encode(anchors, boxes)
        overlaps = geometry.aligned_iou(
            self.coder.decode(anchors, deltas), self.coder.decode(anchors, encoded)
        )
        each = self.loss_cls.elementwise(scores, labels)  # [B, P]
        weights = prime_sample_weights(
            overlaps, labels, assignment, tf.shape(targets["labels"])[1], self.num_classes,
            each * assignment.weight, *self.isr,
        )  # fmt: skip
        weighted = assignment._replace(weight=assignment.weight * weights)
        losses = super().assigned_losses(outputs, anchors, weighted, targets, normalizer)
        # the plain box loss does not know of the importance
        losses["loss_bbox"] = self.box_loss(anchors, deltas, assignment, targets, normalizer)
        probability = tf.gather(tf.nn.softmax(scores), labels, batch_dims=2)
        box_losses = self.loss_bbox.elementwise(deltas, encoded)
        losses["loss_carl"] = self.loss_bbox.loss_weight * classification_aware_box_loss(
            box_losses, probability, positive, normalizer, *self.carl
        )
        return losses
