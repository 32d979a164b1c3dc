"""Suppression that spares what one region predicts together (CrowdDet)."""

import tensorflow as tf

from kdet import geometry
from kdet.contract import Detections
from kdet.postprocess.nms import INVALID_SCORE, pack_detections
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class SetNMS(Component):
    """Greedy suppression in which boxes of one set do not compete (Chu et al., 2020, arXiv:2003.09163).

    ``set_size`` rows after each other are a set: what one region predicts, objects that may well overlap.

    Of more than ``max_output`` kept boxes the first rows stay and not the best, as in MMDetection 3.3: with
    proposals by falling objectness those of the best regions.

    Args:
        iou_threshold: boxes that overlap a better one of another set by more are dropped.
        set_size: boxes of a set.
    """

    def __init__(self, iou_threshold: float = 0.5, set_size: int = 2) -> None:
        self.iou_threshold, self.set_size = iou_threshold, set_size

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, max_output: int
    ) -> tuple[Detections, Tensor]:
        """As ``NMS``."""
        kept = self._kept(boxes, scores, labels)
        kept = kept & (tf.cumsum(tf.cast(kept, tf.int32), 1) <= max_output)
        room = [[0, 0], [0, max_output]]  # there may be fewer candidates than rows of the result
        ranked, indices = tf.math.top_k(tf.pad(tf.where(kept, scores, INVALID_SCORE), room), max_output)
        count = tf.reduce_sum(tf.cast(kept, tf.int32), 1)
        indices = tf.where(tf.range(max_output) < count[:, None], indices, 0)
        return pack_detections(boxes, ranked, labels, indices, count), indices

    def _kept(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """The boxes that no better kept one of another set suppresses, bool ``[B,K]``.

        Decided from the best on: a box is out as soon as a rival is in for good, and in when all its rivals
        are out. Every round settles the best open one at least, and many at once.
        """
        valid = scores > INVALID_SCORE / 2
        rank = tf.argsort(tf.argsort(scores, 1, "DESCENDING", stable=True), 1, stable=True)
        sets = tf.range(tf.shape(scores)[1]) // self.set_size
        rivals = geometry.pairwise_iou(boxes, boxes) > self.iou_threshold  # [B, K, K]: of row and better one
        rivals &= (sets[:, None] != sets[None, :]) & (labels[:, :, None] == labels[:, None, :])
        rivals &= (rank[:, None, :] < rank[:, :, None]) & valid[:, None, :]

        def settle(kept: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            settled = valid & ~tf.reduce_any(rivals & kept[:, None, :], 2)
            return settled, tf.reduce_any(settled != kept)

        return tf.while_loop(lambda _, changed: changed, settle, (valid, tf.constant(True)))[0]
