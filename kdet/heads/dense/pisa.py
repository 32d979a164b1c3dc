"""Prime sample attention in one stage (Cao et al., 2020)."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels
from kdet.heads.dense.retina import RetinaHead
from kdet.losses import classification_aware_box_loss, prime_sample_weights
from kdet.registry import register
from kdet.typing import Tensor


@register
class PISARetinaHead(RetinaHead):
    """RetinaNet's head with weights of the positives by IoU rank and of their boxes by class score.

    Args:
        isr_power, isr_bias: of the weights of the positives.
        carl_power, carl_bias: of the weights of the boxes.
        other arguments: see ``RetinaHead``.
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
        self.isr_power, self.isr_bias = isr_power, isr_bias
        self.carl_power, self.carl_bias = carl_power, carl_bias

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        """``{"loss_cls", "loss_bbox", "loss_carl"}``; see ``AnchorHead``."""
        scores, deltas = flatten_levels(outputs[0], self.num_classes), flatten_levels(outputs[1], 4)
        labels, positive = assignment.labels(targets, background=self.num_classes), assignment.positive
        boxes = tf.where(positive[..., None], assignment.gather(targets["boxes"]), anchors)
        ious = geometry.aligned_iou(self.coder.decode(anchors, deltas), boxes)
        losses = tf.reduce_sum(self.loss_cls.elementwise(scores, labels), -1)
        weight = prime_sample_weights(
            ious, labels, assignment, tf.shape(targets["labels"])[1], self.num_classes, losses,
            self.isr_power, self.isr_bias,
        )  # fmt: skip
        weighted = assignment._replace(weight=assignment.weight * weight)
        found = super().assigned_losses(outputs, anchors, weighted, targets, normalizer)
        own = tf.minimum(labels, self.num_classes - 1)
        right = tf.sigmoid(tf.gather(scores, own, batch_dims=2))
        box_losses = self.loss_bbox.elementwise(deltas, self.coder.encode(anchors, boxes))
        found["loss_carl"] = self.loss_bbox.loss_weight * classification_aware_box_loss(
            box_losses, right, positive, normalizer, self.carl_power, self.carl_bias
        )
        return found
