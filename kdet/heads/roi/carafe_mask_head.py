"""Mask branch with content-aware up-sampling (Wang et al., 2019, arXiv:1905.02188)."""

from typing import Any

from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.layers import CarafeUpsample, Conv2D
from kdet.registry import register
from kdet.typing import Tensor


@register
class CarafeMaskHead(FCNMaskHead):
    """``FCNMaskHead`` that enlarges its map by ``CarafeUpsample``; no ReLU follows.

    Args:
        num_classes, num_convs, filters, class_agnostic, norm, conv, mask_threshold, loss_mask: as in
            ``FCNMaskHead``.
    """

    def add_predictor(self, filters: int, masks: Tensor, initializer: Any) -> None:
        self.upsample = CarafeUpsample()
        self.conv_logits = Conv2D(masks, 1, kernel_initializer=initializer)

    def logits(self, x: Tensor) -> Tensor:
        return self.conv_logits(self.upsample(x))
