"""Localization distillation (Zheng et al., 2022): the distributions of a teacher as soft targets."""

from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Head, Losses
from kdet.heads.dense.base import flatten_levels
from kdet.heads.dense.gfl import GFLHead
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Tensor


@register
class LDHead(GFLHead):
    """GFL's head; training expects the teacher's distributions as a third output.

    Args:
        loss_ld: loss between logits and the teacher's.
        other arguments: see ``GFLHead``.
    """

    def __init__(
        self, num_classes: int, anchor_generator: PriorGenerator, loss_ld: Loss, **kwargs: Any
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.loss_ld = loss_ld

    def taught_losses(
        self, outputs: Any, taught: Any, teacher: Head, targets: Targets, info: ImageInfo
    ) -> Losses:
        return self.compute_losses((*outputs, taught[1]), targets, info)

    def total_weight(self, weight: Tensor) -> Tensor:
        return replica_mean(tf.reduce_sum(weight) + 1e-6)

    def regression_losses(
        self, logits: Tensor, sides: Tensor, weight: Tensor, total: Tensor, outputs: Any
    ) -> Losses:
        losses = super().regression_losses(logits, sides, weight, total, outputs)
        taught = tf.reshape(flatten_levels(outputs[2], 4 * (self.reg_max + 1)), tf.shape(logits))
        # as in MMDetection, this loss is divided by the four sides only
        losses["loss_ld"] = self.loss_ld(logits, taught, weight, 4.0)
        return losses
