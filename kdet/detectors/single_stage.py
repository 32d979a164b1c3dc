"""Detectors that predict in one pass."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets, View
from kdet.detectors.base import Detector
from kdet.heads.base import Head, Losses
from kdet.necks import Neck
from kdet.registry import register


@register
class SingleStageDetector(Detector):
    """Backbone, neck, one head on whole images (RetinaNet, FCOS, SSD, CornerNet ...).

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        bbox_head: dense, keypoint or query head.
        other arguments: see ``Detector``.
    """

    def __init__(
        self, backbone: Backbone, bbox_head: Head, neck: Neck | list[Neck] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.bbox_head = bbox_head
        self.create_variables()

    @property
    def torch_names(self) -> dict[str, str]:
        return {"bbox_head": self.bbox_head.torch_name}

    @property
    def num_classes(self) -> int:
        return self.bbox_head.num_classes

    @property
    def has_late_losses(self) -> bool:
        return self.bbox_head.has_late_losses

    def set_late_losses(self, late: bool) -> bool:
        changed = self.bbox_head.late_losses != late
        self.bbox_head.late_losses = late
        return changed

    def outputs(self, images: tf.Tensor, info: ImageInfo, training: bool = False) -> Any:
        """What the head predicts for normalized images."""
        features = self.extract_features(images, training=training)
        return self.bbox_head(features, with_canvas(info, images), training=training)

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        return self.bbox_head.decode(self.outputs(images, info), info)

    def detect_views(self, views: list[View]) -> Detections:
        return self.bbox_head.decode_views([(self.outputs(*view), view.info) for view in views])

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        features = self.extract_features(images, training=True)
        outputs = self.bbox_head.outputs_for_losses(features, targets, with_canvas(info, images))
        return self.bbox_head.compute_losses(outputs, targets, info)


def with_canvas(info: ImageInfo, images: tf.Tensor) -> ImageInfo:
    """ImageInfo with the height and width of the batch's images."""
    return {**info, "canvas": tf.cast(tf.shape(images)[1:3], tf.float32)}
