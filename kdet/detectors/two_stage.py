"""Detectors that propose regions, and the proposal network on its own."""

import tensorflow as tf

from kdet.detectors.base import Detector
from kdet.heads.dense.rpn import view_proposals
from kdet.heads.roi.prediction import View
from kdet.registry import register
from kdet.structures import PADDING_LABEL, network_boxes, original_boxes


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
        self, backbone, roi_head, neck=None, rpn_head=None, preprocessor=None, class_names=None, **kwargs
    ):
        super().__init__(preprocessor=preprocessor, class_names=class_names, **kwargs)
        self.backbone, self.neck = backbone, neck
        self.rpn_head, self.roi_head = rpn_head, roi_head
        self.create_variables()

    def build_all(self, images, info):
        info["proposals"] = tf.constant([[[0.0, 0.0, 32.0, 32.0]]])
        if self.rpn_head is not None:
            self.rpn_head.forward(self.extract_features(images), info)
        # one detection is enough to build on
        postprocess = self.roi_head.postprocess
        usual, postprocess.max_per_image = postprocess.max_per_image, 1
        self.roi_head.predict(self.extract_features(images), info["proposals"], info)
        postprocess.max_per_image = usual

    @property
    def num_classes(self) -> int:
        return self.roi_head.num_classes

    @property
    def takes_proposals(self):
        return self.rpn_head is None

    def proposals(self, features, info, training=False):
        """Proposals ``[B,N,4]``; the RPN's outputs too (None without one)."""
        if self.takes_proposals:
            return self.given_proposals(info), None
        outputs = self.rpn_head.forward(features, info, training)
        return self.rpn_head.proposals(outputs, info, training=training)["boxes"], outputs

    def given_proposals(self, info):
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

    def detect(self, images, info):
        features = self.extract_features(images)
        proposals, _ = self.proposals(features, info)
        return self.roi_head.predict(features, proposals, info)

    def detect_views(self, views):
        features = [self.extract_features(images) for images, _ in views]
        infos = [info for _, info in views]
        if self.takes_proposals:  # the same in all views; the first is never a mirrored one
            merged = original_boxes(self.given_proposals(infos[0]), infos[0])
        else:
            merged = view_proposals(self.rpn_head, features, infos)["boxes"]
        proposals = [network_boxes(merged, info) for info in infos]
        return self.roi_head.predict_views([View(*view) for view in zip(features, proposals, infos)])

    def forward_losses(self, images, info, targets, proposals=None):
        features = self.extract_features(images, training=True)
        losses = {}
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

    Args: see ``TwoStageDetector``.
    """

    def __init__(self, backbone, rpn_head, neck=None, preprocessor=None, class_names=None, **kwargs):
        super().__init__(preprocessor=preprocessor, class_names=class_names, **kwargs)
        self.backbone, self.neck, self.rpn_head = backbone, neck, rpn_head
        self.create_variables()

    def detect(self, images, info):
        outputs = self.rpn_head.forward(self.extract_features(images), info)
        found = self.rpn_head.proposals(outputs, info)
        real = found["labels"] != PADDING_LABEL
        boxes = tf.where(real[..., None], original_boxes(found["boxes"], info), 0.0)
        return {**found, "boxes": boxes, "labels": tf.where(real, 0, PADDING_LABEL)}

    def detect_views(self, views):
        features = [self.extract_features(images) for images, _ in views]
        return view_proposals(self.rpn_head, features, [info for _, info in views])

    def forward_losses(self, images, info, targets, proposals=None):
        outputs = self.rpn_head.forward(self.extract_features(images, training=True), info, True)
        return self.rpn_head.compute_losses(outputs, targets, info)
