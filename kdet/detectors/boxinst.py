"""Instance segmentation that is learned from boxes alone."""

from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.detectors.condinst import CondInst
from kdet.heads.base import Losses
from kdet.heads.mask.boxinst import BoxInstMaskHead, box_masks
from kdet.heads.mask.color_similarity import similar_neighbors
from kdet.heads.mask.condinst import Drawn
from kdet.registry import register


@register
class BoxInst(CondInst):
    """``CondInst`` whose masks are learned from boxes and the colors of the image (Tian et al., 2021).

    Args:
        mask_head: ``BoxInstMaskHead``.
        color_threshold: least similarity of neighbors that should be in the object together.
        bottom_removed: lines of a full image at its lower border in which nothing is similar: some images of
            COCO are annotated badly there.
        other arguments: see ``CondInst``.
    """

    mask_head: BoxInstMaskHead

    def __init__(
        self,
        mask_head: BoxInstMaskHead,
        color_threshold: float = 0.3,
        bottom_removed: int = 10,
        **kwargs: Any,
    ) -> None:
        self.color_threshold, self.bottom_removed = color_threshold, bottom_removed
        super().__init__(mask_head=mask_head, **kwargs)

    def with_masks(self, targets: Targets, images: tf.Tensor) -> Targets:
        height, width = tf.unstack(tf.shape(images)[1:3])
        return {**targets, "masks": box_masks(targets["boxes"], height, width)}

    def similar(self, images: tf.Tensor, info: ImageInfo) -> tf.Tensor:
        """Which neighboring cells of normalized images look alike, ``[B,8,h,w]``."""
        rule, head = self.preprocessor, self.mask_head
        colors = images * tf.constant(rule.std, tf.float32) + tf.constant(rule.mean, tf.float32)
        colors = colors[..., ::-1] if rule.channel_order == "bgr" else colors
        return similar_neighbors(
            colors, info["valid_size"], head.out_stride, head.dilation, self.color_threshold,
            self.bottom_removed,
        )  # fmt: skip

    def mask_losses(self, drawn: Drawn, images: tf.Tensor, info: ImageInfo) -> Losses:
        return self.mask_head.weak_losses(drawn, self.similar(images, info), info["seed"][1])
