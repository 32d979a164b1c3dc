"""Suppression of duplicates as components, so that a recipe can choose one."""

import tensorflow as tf

from kdet import ops
from kdet.contract import PADDING_LABEL, Detections
from kdet.registry import Component, register
from kdet.typing import Tensor

# candidates that did not pass the score threshold carry this score
INVALID_SCORE = -1.0


@register
class NMS(Component):
    """Greedy non-maximum suppression within each class.

    Args:
        iou_threshold: boxes that overlap a better one by more are dropped.
        class_agnostic: boxes compete whatever their class.
    """

    def __init__(self, iou_threshold: float = 0.5, class_agnostic: bool = False) -> None:
        self.iou_threshold, self.class_agnostic = iou_threshold, class_agnostic

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, max_output: int
    ) -> tuple[Detections, Tensor]:
        """Keeps the best boxes.

        Args:
            boxes: ``[B,K,4]``.
            scores: ``[B,K]``, ``INVALID_SCORE`` for rows that are no candidates.
            labels: int32 ``[B,K]``; boxes of different labels do not compete.
            max_output: rows of the result.

        Returns:
            ``(detections, indices)``: dict with ``boxes [B,N,4]``, ``scores [B,N]``, ``labels [B,N]``
            and ``num_detections [B]``, best first, padded with zeros and label -1; and the rows they
            came from, int32 ``[B,N]``.
        """
        compete = tf.zeros_like(labels) if self.class_agnostic else labels
        indices, count = ops.nms(
            boxes, scores, labels=compete, iou_threshold=self.iou_threshold, max_output=max_output,
            score_threshold=INVALID_SCORE / 2,
        )  # fmt: skip
        kept = tf.gather(scores, indices, batch_dims=1)
        return pack_detections(boxes, kept, labels, indices, count), indices


@register
class SoftNMS(Component):
    """Soft-NMS (Bodla et al., 2017): overlapping boxes lose score instead of being dropped.

    Args:
        iou_threshold: overlap from which the linear form acts.
        sigma: width of the Gaussian form.
        min_score: boxes whose score falls below are dropped.
        method: "linear" or "gaussian".
    """

    def __init__(
        self, iou_threshold: float = 0.3, sigma: float = 0.5, min_score: float = 1e-3, method: str = "linear"
    ) -> None:
        self.iou_threshold, self.sigma = iou_threshold, sigma
        self.min_score, self.method = min_score, method

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, max_output: int
    ) -> tuple[Detections, Tensor]:
        """As ``NMS``; the scores returned are the decayed ones."""
        indices, kept, count = ops.soft_nms(
            boxes, scores, labels=labels, iou_threshold=self.iou_threshold, sigma=self.sigma,
            min_score=self.min_score, method=self.method, max_output=max_output,
            score_threshold=INVALID_SCORE / 2,
        )  # fmt: skip
        return pack_detections(boxes, kept, labels, indices, count), indices


@register
class FastNMS(Component):
    """Fast NMS (YOLACT, Bolya et al., 2019): boxes that lose against a dropped one are dropped too.

    Args:
        iou_threshold: largest overlap with any better box of the class.
        top_k: candidates per class.
    """

    def __init__(self, iou_threshold: float = 0.5, top_k: int = 200) -> None:
        self.iou_threshold, self.top_k = iou_threshold, top_k

    def __call__(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, max_output: int
    ) -> tuple[Detections, Tensor]:
        """As ``NMS``, from the scores of all classes ``[B,K,C]`` and the threshold that they must exceed."""
        rows, labels, kept, count = ops.fast_nms(
            boxes, scores, iou_threshold=self.iou_threshold, score_threshold=score_threshold,
            top_k=self.top_k, max_output=max_output,
        )  # fmt: skip
        real = tf.range(max_output)[None, :] < count[:, None]
        found: Detections = {
            "boxes": tf.where(real[..., None], tf.gather(boxes, rows, batch_dims=1), 0.0),
            "scores": kept,
            "labels": tf.where(real, labels, PADDING_LABEL),
            "num_detections": count,
        }
        return found, rows


def pack_detections(
    boxes: Tensor, scores: Tensor, labels: Tensor, indices: Tensor, count: Tensor
) -> Detections:
    """Detections from the rows ``indices [B,N]`` of which the first ``count [B]`` are real."""
    real = tf.range(tf.shape(indices)[1])[None, :] < count[:, None]
    return {
        "boxes": tf.where(real[..., None], tf.gather(boxes, indices, batch_dims=1), 0.0),
        "scores": tf.where(real, scores, 0.0),
        "labels": tf.where(real, tf.gather(labels, indices, batch_dims=1), PADDING_LABEL),
        "num_detections": count,
    }
