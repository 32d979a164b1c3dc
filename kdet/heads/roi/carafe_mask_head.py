"""Mask branch with content-aware up-sampling (Wang et al., 2019, arXiv:1905.02188)."""

from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.layers import CarafeUpsample, Conv2D
from kdet.registry import register


@register
class CarafeMaskHead(FCNMaskHead):
    """``FCNMaskHead`` that enlarges its map by ``CarafeUpsample``; no ReLU follows.

    Args: see ``FCNMaskHead``.
    """

    def add_predictor(self, filters, masks, initializer):
        self.upsample = CarafeUpsample()
        self.conv_logits = Conv2D(masks, 1, kernel_initializer=initializer)

    def logits(self, x):
        return self.conv_logits(self.upsample(x))
