"""Assignment of squares by the anchors that they stand for (guided anchoring; Wang et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.max_iou import MaxIoUAssigner
from kdet.registry import register


@register
class ApproxMaxIoUAssigner(MaxIoUAssigner):
    """As ``MaxIoUAssigner``; the priors ``[P,4*A]`` hold A anchors each, the best of which counts."""

    def overlaps(self, boxes, priors):
        anchors = priors.shape[-1] // 4
        overlaps = geometry.pairwise_iou(boxes, tf.reshape(priors, [-1, 4]))  # [B, G, P*A]
        shape = tf.concat([tf.shape(overlaps)[:2], [tf.shape(priors)[0], anchors]], 0)
        return tf.reduce_max(tf.reshape(overlaps, shape), -1)
