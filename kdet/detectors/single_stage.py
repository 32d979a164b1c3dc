"""Detectors that predict in one pass."""

import tensorflow as tf

from kdet.detectors.base import Detector
from kdet.registry import register


@register
class SingleStageDetector(Detector):
    """Backbone, neck, one dense head (RetinaNet, FCOS, SSD ...).

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        bbox_head: dense head.
        other arguments: see ``Detector``.
    """

    def __init__(self, backbone, bbox_head, neck=None, preprocessor=None, class_names=None, **kwargs):
        super().__init__(preprocessor=preprocessor, class_names=class_names, **kwargs)
        self.backbone, self.neck, self.bbox_head = backbone, neck, bbox_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.bbox_head.num_classes

    def detect(self, images, info):
        return self.bbox_head.decode(self.bbox_head(self.extract_features(images)), info)

    def detect_views(self, views):
        head = self.bbox_head
        found = [head.candidates(head(self.extract_features(images)), info) for images, info in views]
        return head.suppress(*(tf.concat(parts, 1) for parts in zip(*found)))

    def forward_losses(self, images, info, targets, proposals=None):
        features = self.extract_features(images, training=True)
        outputs = self.bbox_head(features, training=True)
        return self.bbox_head.compute_losses(outputs, targets, info)
