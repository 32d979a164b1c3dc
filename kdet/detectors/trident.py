"""Two-stage detectors on a backbone with branches."""

import tensorflow as tf

from kdet.detectors.two_stage import TwoStageDetector
from kdet.registry import register


@register
class TridentDetector(TwoStageDetector):
    """A ``TwoStageDetector`` that trains on every picture once per branch of its backbone (TridentNet).

    Args: see ``TwoStageDetector``; the backbone is a ``TridentResNet``.
    """

    def forward_losses(self, images, info, targets, proposals=None):
        """As ever; given ``proposals`` are ``[branches*B,P,4]``."""

        def repeat(value):
            return tf.tile(value, [self.backbone.branches] + [1] * (value.shape.rank - 1))

        info = {key: value if key == "seed" else repeat(value) for key, value in info.items()}
        targets = {key: repeat(value) for key, value in targets.items()}
        return super().forward_losses(images, info, targets, proposals)
