"""Sampling balanced over objects and overlaps (Libra R-CNN; Pang et al., 2019)."""

import tensorflow as tf

from kdet.contract import Assignment
from kdet.ops import rank_within
from kdet.registry import register
from kdet.samplers.random import RandomSampler
from kdet.typing import Tensor


@register
class BalancedSampler(RandomSampler):
    """Positives in equal shares per object, negatives in equal shares per range of IoU.

    Shares that cannot be filled are filled with any other positives; with negatives that overlap an object
    first, with the others last.

    Args:
        num_bins: equal ranges between 0 and the image's largest IoU.
        other arguments: see ``RandomSampler``.
    """

    def __init__(
        self,
        num: int,
        pos_fraction: float,
        neg_pos_ub: int = -1,
        add_gt_as_proposals: bool = True,
        num_bins: int = 3,
    ) -> None:
        super().__init__(num, pos_fraction, neg_pos_ub, add_gt_as_proposals)
        self.num_bins = num_bins

    def _keys(self, assignment: Assignment, seed: Tensor) -> tuple[Tensor, Tensor]:
        pos_key, neg_key = super()._keys(assignment, seed)
        return self._positive_keys(assignment, pos_key), self._negative_keys(assignment, neg_key)

    def _positive_keys(self, assignment: Assignment, key: Tensor) -> Tensor:
        positive = assignment.positive
        objects = tf.reduce_max(assignment.gt_index) + 1
        groups = tf.where(positive, assignment.gt_index, objects)
        rank, counts = rank_within(groups, key, objects + 1)
        present = tf.reduce_sum(tf.cast(counts[:, :-1] > 0, tf.float32), 1, keepdims=True)
        shares = tf.maximum(present, 1.0)
        quota = tf.round(self.max_positives / shares) + 1.0
        return (key + tf.cast(tf.cast(rank, tf.float32) < quota, tf.float32)) / 2.0

    def _negative_keys(self, assignment: Assignment, key: Tensor) -> Tensor:
        overlaps = tf.maximum(assignment.overlaps, 0.0)
        width = tf.reduce_max(overlaps, 1, keepdims=True) / self.num_bins
        bins = tf.cast(tf.math.divide_no_nan(overlaps, width), tf.int32)
        bins = tf.minimum(bins, self.num_bins - 1)
        touching = tf.logical_and(assignment.negative, overlaps > 0.0)
        rank, _ = rank_within(tf.where(touching, bins, self.num_bins), key, self.num_bins + 1)
        positives = tf.reduce_sum(tf.cast(assignment.positive, tf.int32), 1, keepdims=True)
        quota = (self.num - tf.minimum(positives, self.max_positives)) // self.num_bins
        order = tf.cast(touching, tf.float32) + tf.cast(touching & (rank < quota), tf.float32)
        return (key + order) / 3.0
