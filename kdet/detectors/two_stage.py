"""Detectors that propose regions, and the proposal network on its own."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import PADDING_LABEL, Detections, ImageInfo, RoIView, Targets, View
from kdet.coordinates import network_boxes, original_boxes
from kdet.detectors.base import Detector
from kdet.heads.base import Losses, ProposalHead
from kdet.heads.dense.rpn import view_proposals
from kdet.heads.roi.base import RoIHead
from kdet.necks import Neck
from kdet.registry import register
from kdet.typing import Maps


@register
class TwoStageDetector(Detector):
    """Backbone, neck, RPN, RoI head (Fast, Faster, Mask, Cascade R-CNN ...).

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        rpn_head: makes the proposals; None to take them from the inputs' ``proposals`` (Fast R-CNN).
        roi_head: second stage.
        other arguments: see ``Detector``.
    """

    def __init__(
        self,
        backbone: Backbone,
        roi_head: RoIHead,
        neck: Neck | list[Neck] | None = None,
        rpn_head: ProposalHead | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.rpn_head: Any = rpn_head
        self.roi_head = roi_head
        self.create_variables()

    def build_all(self, images: tf.Tensor, info: ImageInfo) -> None:
        features = self.extract_features(images)
        if self.rpn_head is not None:
            self.rpn_head(features, info)
        self.roi_head.build_on(features, tf.constant([[[0.0, 0.0, 32.0, 32.0]]]), info)

    @property
    def num_classes(self) -> int:
        return self.roi_head.num_classes

    @property
    def takes_proposals(self) -> bool:
        return self.rpn_head is None

    @property
    def mask_threshold(self) -> float:
        return self.roi_head.mask_threshold

    def proposals(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[tf.Tensor, Any]:
        """Proposals ``[B,N,4]``; the RPN's outputs too (None without one)."""
        if self.takes_proposals:
            return self.given_proposals(info), None
        outputs = self.rpn_head(features, info, training=training)
        return self.rpn_head.proposals(outputs, info, training=training)["boxes"], outputs

    def given_proposals(self, info: ImageInfo) -> tf.Tensor:
        """Proposals ``[B,N,4]`` of the inputs.

        Raises:
            ValueError: there are none.
        """
        if "proposals" not in info:
            raise ValueError(
                f"{self.name} has no RPN: give it inputs={{'images': ..., 'proposals': [B,P,4]}}, or "
                "predict(images, proposals=[...])."
            )
        return tf.cast(info["proposals"], tf.float32)

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        features = self.extract_features(images)
        proposals, _ = self.proposals(features, info)
        return self.roi_head.predict(features, proposals, info)

    def detect_views(self, views: list[View]) -> Detections:
        features = [self.extract_features(images) for images, _ in views]
        infos = [info for _, info in views]
        if self.takes_proposals:  # the same in all views; the first is never a mirrored one
            merged = original_boxes(self.given_proposals(infos[0]), infos[0])
        else:
            merged = view_proposals(self.rpn_head, features, infos)["boxes"]
        proposals = [network_boxes(merged, info) for info in infos]
        return self.roi_head.predict_views([RoIView(*view) for view in zip(features, proposals, infos)])

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        return self.losses_of(self.extract_features(images, training=True), info, targets, proposals)

    def losses_of(
        self, features: Maps, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        """The losses of ``forward_losses`` from the maps."""
        losses: Losses = {}
        if proposals is None and self.takes_proposals and "proposals" in targets:
            proposals = targets["proposals"]
        if proposals is None or not self.takes_proposals:
            own, outputs = self.proposals(features, info, training=True)
            proposals = own if proposals is None else proposals
            if outputs is not None:
                losses.update(self.rpn_head.compute_losses(outputs, targets, info))
        losses.update(self.roi_head.compute_losses(features, proposals, targets, info))
        return losses


@register
class ProposalNetwork(Detector):
    """Backbone, neck and RPN; its detections are proposals of label 0.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        rpn_head: makes the proposals.
        other arguments: see ``Detector``.
    """

    def __init__(
        self, backbone: Backbone, rpn_head: ProposalHead, neck: Neck | list[Neck] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.rpn_head = rpn_head
        self.create_variables()

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        outputs = self.rpn_head(self.extract_features(images), info)
        found = self.rpn_head.proposals(outputs, info)
        real = found["levels"] != PADDING_LABEL
        return {
            "boxes": tf.where(real[..., None], original_boxes(found["boxes"], info), 0.0),
            "scores": found["scores"],
            "labels": tf.where(real, 0, PADDING_LABEL),
            "num_detections": found["num_detections"],
        }

    def detect_views(self, views: list[View]) -> Detections:
        features = [self.extract_features(images) for images, _ in views]
        return view_proposals(self.rpn_head, features, [info for _, info in views])

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        outputs = self.rpn_head(self.extract_features(images, training=True), info, training=True)
        return self.rpn_head.compute_losses(outputs, targets, info)
