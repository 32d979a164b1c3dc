"""Sparse R-CNN: learned proposals, refined in turn (Sun et al., 2021)."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets
from kdet.detectors.base import Detector
from kdet.heads.base import Losses
from kdet.heads.query import EmbeddingRPNHead, SparseRoIHead
from kdet.necks import Neck
from kdet.registry import register


@register
class SparseRCNN(Detector):
    """Backbone, neck, learned proposals and the stages that refine them (Sparse R-CNN, QueryInst).

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        rpn_head: gives boxes and features of the proposals.
        roi_head: the stages.
        other arguments: see ``Detector``.
    """

    def __init__(
        self,
        backbone: Backbone,
        rpn_head: EmbeddingRPNHead,
        roi_head: SparseRoIHead,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.rpn_head, self.roi_head = rpn_head, roi_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.roi_head.num_classes

    @property
    def mask_threshold(self) -> float:
        return self.roi_head.mask_threshold

    def build_all(self, images: tf.Tensor, info: ImageInfo) -> None:
        features = self.extract_features(images)
        boxes, proposals = self.rpn_head(features, info)
        self.roi_head.build_on(features, boxes, proposals, info)

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        features = self.extract_features(images)
        boxes, proposals = self.rpn_head(features, info)
        return self.roi_head.predict(features, boxes, proposals, info)

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        features = self.extract_features(images, training=True)
        boxes, learned = self.rpn_head(features, info, training=True)
        return self.roi_head.compute_losses(features, boxes, learned, targets, info)
