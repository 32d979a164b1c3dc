"""Detectors whose checkpoints have the names of the Transformers library."""

from typing import Any, ClassVar

from kdet.detectors.own_masks import OwnMasks
from kdet.detectors.single_stage import SingleStageDetector
from kdet.registry import register


@register
class DetectionTransformer(SingleStageDetector):
    """Backbone, encoder and decoder (RT-DETR, D-FINE, DEIMv2 ...) as Hugging Face publishes them.

    The flow is that of ``SingleStageDetector``; the names of the checkpoints are those of
    ``transformers``: ``model.backbone...`` for the backbone, and ``model...`` for neck and head.

    Args:
        all arguments: see ``SingleStageDetector``.

    Attributes:
        prefix: what the names of backbone, neck and head begin with.

    Example:
        >>> model = kdet.zoo.load("rtdetr_r18vd_6x")
        >>> model.predict("street.jpg")[0].above(0.5).names
    """

    prefix: ClassVar[str] = "model"

    @property
    def torch_names(self) -> dict[str, str]:
        neck: Any = self.neck
        own = {"backbone": f"{self.prefix}.{neck.backbone_name}", "neck": self.prefix}
        return {**super().torch_names, **own}


@register
class MaskDetectionTransformer(OwnMasks, DetectionTransformer):
    """A ``DetectionTransformer`` whose head finds masks too (RF-DETR-Seg).

    ``masks`` of its detections are uint8 ``[B,N,H,W]`` in the images' own sizes.

    Args:
        all arguments: see ``SingleStageDetector``.

    Example:
        >>> model = kdet.zoo.load("rfdetr-seg_nano")
        >>> model.predict("street.jpg")[0].masks.shape  # bool [n,h,w]
    """

    prefix = "model.model"
