"""Instances of a two-stage detector and a semantic branch (Panoptic FPN)."""

from typing import Any, cast

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets, View
from kdet.detectors.base import Detector
from kdet.detectors.two_stage import TwoStageDetector
from kdet.heads.base import Losses, ProposalHead
from kdet.heads.mask import HeuristicFusion, StuffHead
from kdet.heads.roi.base import RoIHead
from kdet.necks import Neck
from kdet.postprocess import PostProcess
from kdet.registry import register


@register
class PanopticFPN(TwoStageDetector):
    """Mask R-CNN with a semantic branch for stuff; its detections have panoptic segments too.

    Of ``panoptic`` and ``segment_labels`` see :class:`kdet.contract.Detections`.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        rpn_head, roi_head: see ``TwoStageDetector``.
        semantic_head: classes of stuff.
        panoptic_fusion: makes segments of instances and stuff.
        postprocess: of the instances, in the place of the RoI head's own.
        other arguments: see ``Detector``.

    Example:
        >>> model = kdet.zoo.load("panoptic_fpn_r50_fpn_1x")
        >>> result = model.predict("street.jpg")[0]
        >>> result.panoptic.shape, result.segments[0]["name"]
    """

    def __init__(
        self,
        backbone: Backbone,
        roi_head: RoIHead,
        rpn_head: ProposalHead,
        semantic_head: StuffHead,
        panoptic_fusion: HeuristicFusion,
        postprocess: PostProcess,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        # not the constructor of TwoStageDetector, which would build the model without the semantic branch
        super(TwoStageDetector, self).__init__(backbone=backbone, neck=neck, **kwargs)
        self.rpn_head, self.roi_head = rpn_head, roi_head
        self.semantic_head, self.panoptic_fusion = semantic_head, panoptic_fusion
        self.postprocess = postprocess
        self.create_variables()

    def build_all(self, images: tf.Tensor, info: ImageInfo) -> None:
        super().build_all(images, info)
        self.semantic_head(self.extract_features(images))

    @property
    def num_classes(self) -> int:
        return self.roi_head.num_classes + self.num_stuff

    @property
    def num_stuff(self) -> int:
        return self.semantic_head.num_stuff

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        features = self.extract_features(images)
        proposals, _ = self.proposals(features, info)
        found = self.roi_head.predict(features, proposals, info, self.postprocess)
        semantic = self.semantic_head(features)["seg_preds"]
        canvas = tf.shape(images)[1:3]
        segments = self.panoptic_fusion(found, semantic, info, canvas, self.roi_head.num_classes)
        return cast(Detections, {**found, **segments.as_detections()})

    def detect_views(self, views: list[View]) -> Detections:
        return Detector.detect_views(self, views)  # it has no test-time augmentation

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        features = self.extract_features(images, training=True)
        losses = self.losses_of(features, info, targets, proposals)
        outputs = self.semantic_head(features, training=True)
        losses.update(self.semantic_head.compute_losses(outputs, targets, self.roi_head.num_classes))
        return losses
