"""Instance segmentation in one pass: points predict networks, which draw the masks."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import Detections, ImageInfo, Targets
from kdet.detectors.own_masks import OwnMasks
from kdet.heads.base import Losses
from kdet.heads.mask import CondInstBoxHead, CondInstMaskHead
from kdet.heads.mask.condinst import Drawn
from kdet.necks import Neck
from kdet.registry import register


@register
class CondInst(OwnMasks):
    """Backbone, neck, a box head and a mask head (CondInst, Tian et al., 2020).

    ``masks`` of its detections are uint8 ``[B,N,H,W]`` in the images' own sizes.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        bbox_head: finds boxes and predicts a network for each.
        mask_head: draws the masks.
        other arguments: see ``Detector``.

    Example:
        >>> model = kdet.zoo.load("condinst_r50_fpn_ms-poly-90k")
        >>> result = model.predict("street.jpg")[0]
        >>> result.masks.shape  # bool [n,h,w]
    """

    def __init__(
        self,
        backbone: Backbone,
        bbox_head: CondInstBoxHead,
        mask_head: CondInstMaskHead,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        if bbox_head.num_params != mask_head.convs.count:
            raise ValueError(
                f"CondInst: bbox_head.num_params is {bbox_head.num_params}, but a network of the mask head "
                f"takes {mask_head.convs.count} numbers; set num_params to that."
            )
        super().__init__(backbone=backbone, neck=neck, **kwargs)
        self.bbox_head, self.mask_head = bbox_head, mask_head
        self.create_variables()

    @property
    def num_classes(self) -> int:
        return self.bbox_head.num_classes

    @property
    def mask_threshold(self) -> float:
        return self.mask_head.mask_threshold

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        features = self.extract_features(images)
        found, instances = self.bbox_head.decode_with_instances(self.bbox_head(features, info), info)
        logits = self.mask_head(features, instances)
        logits = tf.where((found["labels"] >= 0)[..., None, None], logits, -1e4)
        found["masks"] = self.mask_head.image_masks(logits, info)
        return found

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        targets = self.with_masks(targets, images)
        features = self.extract_features(images, training=True)
        outputs = self.bbox_head(features, info, training=True)
        losses, assignment = self.bbox_head.assigned_losses(outputs, targets)
        drawn = self.mask_head.draw(features, self.bbox_head, outputs, assignment, targets, info)
        return {**losses, **self.mask_losses(drawn, images, info)}

    def with_masks(self, targets: Targets, images: tf.Tensor) -> Targets:
        """The targets with the masks that are learned."""
        if "masks" not in targets:
            raise ValueError(f"{self.name} learns masks: the data must have them (data.train.masks: true).")
        return targets

    def mask_losses(self, drawn: Drawn, images: tf.Tensor, info: ImageInfo) -> Losses:
        """Losses by name of the masks that were drawn for normalized images."""
        return self.mask_head.mask_losses(drawn)
