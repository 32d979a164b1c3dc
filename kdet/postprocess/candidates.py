"""From dense scores to a static number of candidates."""

import tensorflow as tf

from kdet.contract import Candidates, Detections
from kdet.postprocess.base import Suppression
from kdet.postprocess.nms import INVALID_SCORE, NMS
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class PostProcess(Component):
    """What a head does between its scores and the detections.

    Args:
        score_threshold: candidates must score strictly more.
        nms: component that removes duplicates.
        max_per_image: detections of one image.
        nms_pre: candidates per level that enter the suppression (dense heads).
        min_size: sides of boxes must be strictly longer, in original pixels (dense heads); None: any box.
    """

    def __init__(
        self,
        score_threshold: float = 0.05,
        nms: Suppression | None = None,
        max_per_image: int = 100,
        nms_pre: int = 1000,
        min_size: int | None = None,
    ) -> None:
        self.score_threshold, self.nms = score_threshold, nms or NMS(0.5)
        self.max_per_image, self.nms_pre, self.min_size = max_per_image, nms_pre, min_size

    def __call__(self, candidates: Candidates) -> Detections:
        """Detections from candidates."""
        return self.nms(*candidates, self.max_per_image)[0]


@register
class ProposalSelection(Component):
    """How an RPN chooses its proposals.

    Args:
        nms_pre: best anchors per level before suppression.
        max_per_image: proposals of one image.
        iou_threshold: of the suppression, within each level.
        min_size: sides must be strictly longer (pixels).
    """

    def __init__(
        self, nms_pre: int = 1000, max_per_image: int = 1000, iou_threshold: float = 0.7, min_size: int = 0
    ) -> None:
        self.nms_pre, self.max_per_image = nms_pre, max_per_image
        self.min_size, self.nms = min_size, NMS(iou_threshold)


def top_candidates(scores: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
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
        rows = top_rows(tf.reduce_max(scores, -1), limit)[1]
        scores = tf.gather(scores, rows, batch_dims=1)
    classes = scores.shape[2]
    flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
    if scores.shape[1] is not None:
        flat = tf.ensure_shape(flat, [None, scores.shape[1] * classes])
    scores, order = top_rows(flat, limit)
    picked = order // classes
    if rows is not None:
        picked = tf.gather(rows, picked, batch_dims=1)
    return scores, picked, order % classes


def top_rows(values: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The best ``limit`` of ``values [B,n]``, or all: values and rows ``[B,k]``, best first.

    ``k`` is static where ``n`` is.
    """
    count = values.shape[1]
    best = tf.math.top_k(
        values, tf.minimum(limit, tf.shape(values)[1]) if count is None else min(limit, count)
    )
    return best.values, best.indices


def keep_above(scores: Tensor, threshold: float) -> Tensor:
    """Scores with ``INVALID_SCORE`` where they are not strictly above the threshold."""
    return tf.where(scores > threshold, scores, INVALID_SCORE)
