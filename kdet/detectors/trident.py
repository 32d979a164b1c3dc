"""Detectors whose backbone multiplies the batch in training."""

import tensorflow as tf

from kdet.detectors.two_stage import TwoStageDetector
from kdet.registry import register


@register
class TridentDetector(TwoStageDetector):
    """Two-stage detector on ``TridentResNet``: every branch learns all images and objects.

    Args: see ``TwoStageDetector``. Given proposals are for the images, or for all branches of them.
    """

    def forward_losses(self, images, info, targets, proposals=None):
        def repeat(value):
            ones = [1] * (value.shape.rank - 1)
            return tf.tile(value, [self.backbone.num_branches, *ones])

        seed = {"seed": info["seed"]} if "seed" in info else {}
        info = {**{k: repeat(v) for k, v in info.items() if k != "seed"}, **seed}
        targets = {k: repeat(v) for k, v in targets.items()}
        if proposals is not None and proposals.shape[0] == images.shape[0]:
            proposals = repeat(proposals)
        return super().forward_losses(images, info, targets, proposals=proposals)
