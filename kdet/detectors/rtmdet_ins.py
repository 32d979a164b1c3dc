"""Instance segmentation in one pass, with boxes."""

from kdet.detectors.own_masks import OwnMasks
from kdet.detectors.single_stage import SingleStageDetector
from kdet.registry import register


@register
class RTMDetIns(OwnMasks, SingleStageDetector):
    """A ``SingleStageDetector`` whose head finds masks too (RTMDet-Ins).

    ``masks`` of its detections are uint8 ``[B,N,H,W]`` in the images' own sizes.

    Example:
        >>> model = kdet.zoo.load("rtmdet-ins_s_300e")
        >>> result = model.predict("street.jpg")[0]
        >>> result.masks.shape  # bool [n,h,w]
    """

    @property
    def mask_threshold(self) -> float:
        return self.bbox_head.mask_threshold
