"""Negatives by their score hierarchical local rank (prime sample attention; Cao et al., 2020)."""

import tensorflow as tf

from kdet import geometry, ops
from kdet.contract import Assignment
from kdet.ops import rank_within
from kdet.registry import register
from kdet.samplers.random import RandomSampler
from kdet.typing import Tensor

MOST = 2048  # groups, where the number of rows differs from batch to batch; an RPN proposes fewer


@register
class ScoreHLRSampler(RandomSampler):
    """Takes the negatives that would hurt most, and weighs them by their rank.

    Negatives that score are grouped by overlap; the best of every group come first, then the second best ...

    Args:
        power, bias: of the map from rank to weight.
        score_threshold: negatives that score less are drawn at random and come last.
        iou_threshold: overlap from which negatives belong to one group.
        other arguments: see ``RandomSampler``.
    """

    def __init__(
        self,
        num: int,
        pos_fraction: float,
        neg_pos_ub: int = -1,
        add_gt_as_proposals: bool = True,
        power: float = 0.5,
        bias: float = 0.0,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
    ) -> None:
        super().__init__(num, pos_fraction, neg_pos_ub, add_gt_as_proposals)
        self.power, self.bias = power, bias
        self.score_threshold, self.iou_threshold = score_threshold, iou_threshold

    def select_scored(
        self, assignment: Assignment, seed: Tensor, scores: Tensor, boxes: Tensor, losses: Tensor
    ) -> tuple[Tensor, Assignment]:
        """As ``select``, with weights of the negatives.

        Args:
            scores: ``[B,P]``, best score of any class.
            boxes: ``[B,P,4]``, predicted for that class.
            losses: ``[B,P]``, classification losses as background.
        """
        pos_key, key = self._keys(assignment, seed)
        valid = assignment.negative & (scores > self.score_threshold)
        rank = self.ranks(boxes, scores, valid)
        size = tf.cast(tf.shape(rank)[1], tf.float32)
        neg_key = tf.where(valid, 1.0 - (tf.cast(rank, tf.float32) + 1.0) / (2.0 * size), key * 0.499)
        rows, sampled = self._selected(assignment, pos_key, neg_key)
        rank, valid, losses = (tf.gather(x, rows, batch_dims=1) for x in (rank, valid, losses))
        weight = self.weights(rank, valid, sampled, losses)
        return rows, sampled._replace(weight=tf.where(sampled.negative, weight, sampled.weight))

    def ranks(self, boxes: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Rank of the valid rows, int32 ``[B,P]``."""
        candidates = tf.where(valid, scores, -1.0)
        size = MOST if boxes.shape[1] is None else boxes.shape[1]
        kept, count = ops.nms(
            boxes, candidates, iou_threshold=self.iou_threshold, max_output=size, score_threshold=0.0
        )
        real = tf.range(size)[None] < count[:, None]
        overlaps = geometry.pairwise_iou(boxes, tf.gather(boxes, kept, batch_dims=1))  # [B, P, kept]
        # the first box that the suppression kept and that covers this one
        covers = (overlaps > self.iou_threshold) & real[:, None, :]
        group = tf.argmax(covers, -1, tf.int32)
        group = tf.where(valid & tf.reduce_any(covers, -1), group, size)
        local, _ = rank_within(group, -scores, size + 1)
        importance = tf.where(valid, scores - tf.cast(local, tf.float32), float("-inf"))
        return tf.argsort(tf.argsort(-importance, axis=1, stable=True), axis=1)

    def weights(self, rank: Tensor, valid: Tensor, sampled: Assignment, losses: Tensor) -> Tensor:
        """Weights ``[B,S]`` of the sampled negatives; their loss keeps its sum in every image."""

        def count(rows: Tensor) -> Tensor:
            return tf.reduce_sum(tf.cast(rows, tf.float32), 1, keepdims=True)

        chosen = sampled.negative
        ranked = count(chosen & valid)
        bound = tf.maximum(tf.maximum(count(chosen), ranked), 1.0)
        # those that do not score count as the last that does
        rank = tf.where(valid, tf.cast(rank, tf.float32), tf.maximum(ranked - 1.0, 0.0))
        weight = tf.pow(self.bias + (1.0 - self.bias) * (bound - rank) / bound, self.power)
        weight = tf.where(ranked > 0.0, weight, 1.0)
        losses = tf.where(chosen, losses, 0.0)
        before = tf.reduce_sum(losses, 1, keepdims=True)
        return weight * tf.math.divide_no_nan(before, tf.reduce_sum(losses * weight, 1, keepdims=True))
