"""Instance segmentation in one pass, without boxes."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets
from kdet.detectors.own_masks import OwnMasks
from kdet.detectors.single_stage import with_canvas
from kdet.heads.base import Losses
from kdet.heads.mask import LocationHead
from kdet.necks import Neck
from kdet.registry import register


@register
class SOLO(OwnMasks):
    """Backbone, neck, a head that finds objects by their locations (SOLO, Decoupled SOLO, SOLOv2).

    ``masks`` of its detections are uint8 ``[B,N,H,W]`` in the images' own sizes, ``boxes`` those around them.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        mask_head: the head.
        other arguments: see ``Detector``.

    Example:
        >>> model = kdet.zoo.load("solov2_r50_fpn_1x")
        >>> result = model.predict("street.jpg")[0]
        >>> result.masks.shape  # bool [n,h,w]
    """

    def __init__(
        self,
        backbone: Backbone,
        mask_head: LocationHead,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.mask_head = mask_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.mask_head.num_classes

    @property
    def mask_threshold(self) -> float:
        return self.mask_head.postprocess.mask_threshold

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        outputs = self.mask_head(self.extract_features(images), with_canvas(info, images))
        return self.mask_head.decode(outputs, info)

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        info = with_canvas(info, images)
        outputs = self.mask_head(self.extract_features(images, training=True), info, training=True)
        return self.mask_head.compute_losses(outputs, targets, info)
