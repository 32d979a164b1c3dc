"""Detectors that predict a set of objects from queries."""

import tensorflow as tf

from kdet.detectors.base import Detector
from kdet.detectors.single_stage import SingleStageDetector
from kdet.registry import register


@register
class QueryDetector(SingleStageDetector):
    """Backbone, neck, and a head that looks at the whole image (DETR and its kin).

    The head is called with ImageInfo too, which holds the size of the canvas as ``canvas``, float32 ``[2]``.

    Args: see ``SingleStageDetector``.
    """

    def detect(self, images, info):
        info = with_canvas(info, images)
        return self.bbox_head.decode(self.bbox_head(self.extract_features(images), info), info)

    # queries of different views have nothing in common that could be merged
    detect_views = Detector.detect_views

    def forward_losses(self, images, info, targets, proposals=None):
        info = with_canvas(info, images)
        outputs = self.bbox_head(self.extract_features(images, training=True), info, training=True)
        return self.bbox_head.compute_losses(outputs, targets, info)


def with_canvas(info, images):
    """ImageInfo with the height and width of the batch."""
    return {**info, "canvas": tf.cast(tf.shape(images)[1:3], tf.float32)}


@register
class SparseRCNN(Detector):
    """Backbone, neck, learned proposals and the stages that refine them (Sparse R-CNN).

    Args:
        backbone, neck: feature extractors.
        rpn_head: gives boxes and features of the proposals.
        roi_head: the stages.
        other arguments: see ``Detector``.
    """

    def __init__(
        self, backbone, rpn_head, roi_head, neck=None, preprocessor=None, class_names=None, **kwargs
    ):
        super().__init__(preprocessor=preprocessor, class_names=class_names, **kwargs)
        self.backbone, self.neck = backbone, neck
        self.rpn_head, self.roi_head = rpn_head, roi_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.roi_head.num_classes

    def detect(self, images, info):
        features = self.extract_features(images)
        return self.roi_head.predict(features, *self.rpn_head(features, info), info)

    def forward_losses(self, images, info, targets, proposals=None):
        features = self.extract_features(images, training=True)
        return self.roi_head.compute_losses(features, *self.rpn_head(features, info), targets, info)
