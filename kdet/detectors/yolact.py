"""One-stage detectors whose masks are sums of prototypes."""

from typing import Any

import numpy as np
import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes, upright_masks
from kdet.detectors.base import Detector
from kdet.heads.base import Losses
from kdet.heads.dense import YOLACTHead
from kdet.heads.dense.base import flatten_levels
from kdet.heads.mask import PrototypeMaskHead, SemanticLossHead
from kdet.necks import Neck
from kdet.registry import register


@register
class YOLACT(Detector):
    """Backbone, neck, a box head with mask coefficients, a head with prototypes (YOLACT).

    ``masks [B,N,h,w]`` of its detections are probabilities in the frame of the whole image.

    Args:
        backbone, neck: feature extractors.
        bbox_head: ``YOLACTHead``.
        mask_head: ``PrototypeMaskHead``.
        segm_head: ``SemanticLossHead``, used in training only.
        other arguments: see ``Detector``.
    """

    def __init__(
        self,
        backbone: Backbone,
        neck: Neck | list[Neck],
        bbox_head: YOLACTHead,
        mask_head: PrototypeMaskHead,
        segm_head: SemanticLossHead,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.bbox_head, self.segm_head, self.mask_head = bbox_head, segm_head, mask_head
        self.create_variables()

    def build_all(self, images: tf.Tensor, info: ImageInfo) -> None:
        self.detect(images, info)
        self.segm_head(self.extract_features(images)[0])

    @property
    def num_classes(self) -> int:
        return self.bbox_head.num_classes

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        features = self.extract_features(images)
        found = self.bbox_head.decode(self.bbox_head(features, info), info)
        coefficients = found.pop("coefficients")
        boxes = network_boxes(found["boxes"], info)
        masks = self.mask_head.assemble(self.mask_head(features[0]), coefficients, boxes, info["valid_size"])
        masks = upright_masks(masks, info)
        found["masks"] = tf.where((found["labels"] >= 0)[..., None, None], masks, 0.0)
        return found

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        if "masks" not in targets:
            raise ValueError(f"{self.name} learns masks: the data must have them (data.train.masks: true).")
        features = self.extract_features(images, training=True)
        outputs = self.bbox_head(features, info, training=True)
        losses, assignment = self.bbox_head.assigned(outputs, targets, info)
        canvas = tf.unstack(tf.shape(images)[1:3])
        losses.update(self.segm_head.compute_losses(features[0], targets, canvas))
        coefficients = flatten_levels(outputs[2], self.bbox_head.num_protos)
        losses.update(
            self.mask_head.compute_losses(features[0], coefficients, assignment, targets, info, canvas)
        )
        return losses

    @property
    def mask_threshold(self) -> float:
        return self.mask_head.mask_threshold

    def image_masks(self, detections: dict[str, np.ndarray], height: int, width: int) -> np.ndarray:
        masks = np.zeros((int(detections["num_detections"]), height, width), bool)
        for mask, small in zip(masks, detections["masks"]):  # one by one: they are large
            full = tf.image.resize(small[..., None], (height, width))[..., 0]
            mask[:] = full.numpy() > self.mask_threshold
        return masks

    def mask_in_image(self, mask: tf.Tensor, box: tf.Tensor, size: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        height, width = tf.unstack(size)
        inside = tf.image.resize(mask[..., None], (height, width))[..., 0] > self.mask_threshold
        return tf.pad(inside, [[0, canvas[0] - height], [0, canvas[1] - width]])
