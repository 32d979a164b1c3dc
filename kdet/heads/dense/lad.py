"""Label assignment distillation (Nguyen et al., 2021, arXiv:2108.10520): positives as a teacher sees them."""

from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Head, Losses
from kdet.heads.dense.paa import PAAHead
from kdet.registry import register
from kdet.typing import Tensor


@register
class LADHead(PAAHead):
    """PAA's head that learns from the positives that a teacher's PAA head chooses; boxes count alike."""

    def taught_losses(
        self, outputs: Any, taught: Any, teacher: Head, targets: Targets, info: ImageInfo
    ) -> Losses:
        if not isinstance(teacher, PAAHead):
            raise ValueError(
                f"LADHead learns from the positives of a PAAHead, not of a {type(teacher).__name__}."
            )
        assignment = teacher.chosen(taught, targets, info)
        return self.chosen_losses(outputs, assignment, targets)

    def box_weight(self, overlap: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
        return positive, tf.reduce_sum(positive)
