"""Segmentation by queries that give a class and a mask each."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets
from kdet.detectors.own_masks import OwnMasks
from kdet.detectors.single_stage import with_canvas
from kdet.heads.base import Losses
from kdet.heads.query import MaskQueryHead
from kdet.necks import Neck
from kdet.registry import register


@register
class MaskFormer(OwnMasks):
    """Backbone and a head of mask queries (MaskFormer, Mask2Former): instances, panoptic segments or both.

    ``masks`` of its detections are uint8 ``[B,N,H,W]`` in the images' own sizes, ``boxes`` those around them;
    of ``panoptic`` and ``segment_labels`` see :class:`kdet.contract.Detections`.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        panoptic_head: the head.
        other arguments: see ``Detector``.

    Example:
        >>> model = kdet.zoo.load("mask2former_r50_lsj_8x2_50e_coco-panoptic")
        >>> result = model.predict("street.jpg")[0]
        >>> result.panoptic.shape, result.segments[0]["name"]
    """

    def __init__(
        self,
        backbone: Backbone,
        panoptic_head: MaskQueryHead,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.panoptic_head = panoptic_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.panoptic_head.num_classes + self.panoptic_head.num_stuff

    @property
    def num_stuff(self) -> int:
        return self.panoptic_head.num_stuff

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        info = with_canvas(info, images)
        return self.panoptic_head.decode(self.panoptic_head(self.extract_features(images), info), info)

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        info = with_canvas(info, images)
        outputs = self.panoptic_head(self.extract_features(images, training=True), info, training=True)
        return self.panoptic_head.compute_losses(outputs, targets, info)
