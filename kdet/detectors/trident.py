"""Detectors whose backbone multiplies the batch in training."""

from typing import Any, cast

import tensorflow as tf

from kdet.backbones import TridentResNet
from kdet.contract import ImageInfo, Targets
from kdet.detectors.two_stage import TwoStageDetector
from kdet.heads.base import Losses
from kdet.registry import register
from kdet.typing import Tensor


@register
class TridentDetector(TwoStageDetector):
    """Two-stage detector on ``TridentResNet``: every branch learns all images and objects.

    Given proposals are for the images, or for all branches of them.

    Args:
        backbone: ``TridentResNet``.
        neck, rpn_head, roi_head, other arguments: see ``TwoStageDetector``.
    """

    backbone: TridentResNet

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        def repeat(value: Tensor) -> Tensor:
            ones = [1] * (value.shape.rank - 1)
            return tf.tile(value, [self.backbone.num_branches, *ones])

        repeated: dict[str, Any] = {k: v if k == "seed" else repeat(v) for k, v in info.items()}
        objects: dict[str, Any] = {k: repeat(v) for k, v in targets.items()}
        if proposals is not None and proposals.shape[0] == images.shape[0]:
            proposals = repeat(proposals)
        return super().forward_losses(
            images, cast(ImageInfo, repeated), cast(Targets, objects), proposals=proposals
        )
