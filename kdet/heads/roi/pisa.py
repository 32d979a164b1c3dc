"""Prime sample attention in the second stage (Cao et al., 2020)."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.roi.standard import StandardRoIHead, merge_batch, split_batch
from kdet.losses import classification_aware_box_loss, prime_sample_weights
from kdet.registry import register
from kdet.samplers import ScoreHLRSampler
from kdet.typing import Maps, Tensor


@register
class PISARoIHead(StandardRoIHead):
    """Second stage that weighs positives by their IoU rank and boxes by their class scores.

    Args:
        sampler: ``ScoreHLRSampler``.
        isr_power, isr_bias: of the weights of the positives.
        carl_power, carl_bias: of the weights of the boxes.
        other arguments: see ``StandardRoIHead``.
    """

    sampler: ScoreHLRSampler

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

    def draw(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets, seed: Tensor
    ) -> tuple[Tensor, Assignment]:
        head = self.bbox_head
        scores, deltas = (tf.stop_gradient(x) for x in self.bbox_forward(features, rois))
        background = tf.fill(tf.shape(scores)[:1], head.num_classes)
        losses = head.loss_cls.elementwise(tf.cast(scores, tf.float32), background)
        probabilities = split_batch(head.probabilities(scores), rois)  # [B, P, classes]
        best = tf.argmax(probabilities, -1, tf.int32)
        boxes = head.coder.decode(rois, head.own_deltas(deltas, rois, best))
        best = tf.reduce_max(probabilities, -1)
        return self.sampler.select_scored(assignment, seed, best, boxes, split_batch(losses, rois))

    def bbox_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets
    ) -> tuple[Losses, Any]:
        head, positive = self.bbox_head, assignment.positive
        scores, deltas = self.bbox_forward(features, rois, training=True)
        labels = assignment.labels(targets, background=head.num_classes)  # [B, S]
        own = head.own_deltas(deltas, rois, labels)
        ious = geometry.aligned_iou(head.coder.decode(rois, own), assignment.gather(targets["boxes"]))
        losses = head.loss_cls.elementwise(tf.cast(scores, tf.float32), merge_batch(labels))
        weight = prime_sample_weights(
            ious, labels, assignment, tf.shape(targets["labels"])[1], head.num_classes, losses,
            self.isr_power, self.isr_bias,
        )  # fmt: skip
        weighted = assignment._replace(weight=assignment.weight * weight)
        losses = head.compute_losses(scores, deltas, rois, weighted, targets)
        right = tf.gather(split_batch(tf.nn.softmax(tf.cast(scores, tf.float32)), rois), labels, batch_dims=2)
        box_losses = head.loss_bbox.elementwise(own, head.encoded(rois, assignment, targets))
        losses["loss_carl"] = head.loss_bbox.loss_weight * classification_aware_box_loss(
            box_losses, right, positive, head.sampled(assignment), self.carl_power, self.carl_bias
        )
        return losses, (scores, deltas)
