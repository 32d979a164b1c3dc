"""RetinaNet with gradient-harmonized losses (Li et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_map
from kdet.heads.dense.retina import RetinaHead
from kdet.registry import register
from kdet.typing import Tensor


@register
class GHMRetinaHead(RetinaHead):
    """Takes the losses level by level, as each moves the histograms that the next is weighed with.

    Args:
        loss_cls, loss_bbox: ``GHMClassificationLoss`` and ``GHMRegressionLoss``.
        other arguments: see ``RetinaHead``.
    """

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        labels = assignment.labels(targets, background=self.num_classes)
        boxes = tf.where(assignment.positive[..., None], assignment.gather(targets["boxes"]), anchors)
        deltas = self.coder.encode(anchors, boxes)
        positive = tf.cast(assignment.positive, tf.float32)
        losses: dict[str, list[Tensor]] = {"loss_cls": [], "loss_bbox": []}
        start = 0
        for scores, regression in zip(*outputs):
            scores, regression = flatten_map(scores, self.num_classes), flatten_map(regression, 4)
            level = slice(start, start + tf.shape(scores)[1])
            start = level.stop
            losses["loss_cls"].append(self.loss_cls(scores, labels[:, level], assignment.weight[:, level]))
            losses["loss_bbox"].append(self.loss_bbox(regression, deltas[:, level], positive[:, level]))
        return {name: tf.add_n(values) for name, values in losses.items()}
