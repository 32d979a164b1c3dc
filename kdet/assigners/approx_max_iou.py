"""Assignment of squares by the anchors that they stand for (guided anchoring; Wang et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.max_iou import MaxIoUAssigner
from kdet.registry import register
from kdet.typing import Tensor


@register
class ApproxMaxIoUAssigner(MaxIoUAssigner):
    """As ``MaxIoUAssigner``; the priors ``[P,4*A]`` hold A anchors each, the best of which counts."""

    def overlaps(self, boxes: Tensor, priors: Tensor) -> Tensor:
        # one anchor of all cells at a time: all of them at once would need A times the memory
        first, *others = tf.split(priors, priors.shape[-1] // 4, -1)
        best = geometry.pairwise_iou(boxes, first)  # [B, G, P]
        for anchors in others:
            best = tf.maximum(best, geometry.pairwise_iou(boxes, anchors))
        return best
