"""From dense scores to a static number of candidates."""

import tensorflow as tf

from kdet.postprocess.nms import INVALID_SCORE, NMS
from kdet.registry import Component, register


@register
class PostProcess(Component):
    """What a head does between its scores and the detections.

    Args:
        score_threshold: candidates must score strictly more.
        nms: component that removes duplicates.
        max_per_image: detections of one image.
        nms_pre: candidates per level that enter the suppression (dense heads).
    """

    def __init__(self, score_threshold=0.05, nms=None, max_per_image=100, nms_pre=1000):
        self.score_threshold, self.nms = score_threshold, nms or NMS(0.5)
        self.max_per_image, self.nms_pre = max_per_image, nms_pre

    def __call__(self, boxes, scores, labels):
        """Detections from candidates; see ``NMS``."""
        return self.nms(boxes, scores, labels, self.max_per_image)[0]


@register
class ProposalSelection(Component):
    """How an RPN chooses its proposals.

    Args:
        nms_pre: best anchors per level before suppression.
        max_per_image: proposals of one image.
        iou_threshold: of the suppression, within each level.
        min_size: sides must be strictly longer (pixels).
    """

    def __init__(self, nms_pre=1000, max_per_image=1000, iou_threshold=0.7, min_size=0):
        self.nms_pre, self.max_per_image = nms_pre, max_per_image
        self.min_size, self.nms = min_size, NMS(iou_threshold)


def top_candidates(scores, limit):
    """The best (row, class) pairs.

    Args:
        scores: ``[B,n,C]``, any monotone form of the score.
        limit: how many to keep.

    Returns:
        ``(scores [B,k], rows [B,k] int32, labels [B,k] int32)``, best first.
    """
    rows = None
    if scores.shape[1] is None or scores.shape[1] > limit:
        # the best `limit` pairs lie within the best `limit` rows, so classes are ranked for those only
        size = limit if scores.shape[1] else tf.minimum(limit, tf.shape(scores)[1])
        rows = tf.math.top_k(tf.reduce_max(scores, -1), size).indices
        scores = tf.gather(scores, rows, batch_dims=1)
    classes = scores.shape[2]
    flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
    if scores.shape[1] is not None:
        flat = tf.ensure_shape(flat, [None, scores.shape[1] * classes])
    scores, order = tf.math.top_k(flat, tf.minimum(limit, tf.shape(flat)[1]))
    if flat.shape[1] is not None:
        scores = tf.ensure_shape(scores, [None, min(limit, flat.shape[1])])
    picked = order // classes
    if rows is not None:
        picked = tf.gather(rows, picked, batch_dims=1)
    return scores, picked, order % classes


def keep_above(scores, threshold):
    """Scores with ``INVALID_SCORE`` where they are not strictly above the threshold."""
    return tf.where(scores > threshold, scores, INVALID_SCORE)
