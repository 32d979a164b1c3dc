"""Random choice of positives and negatives (Ren et al., 2015)."""

import tensorflow as tf

from kdet.contract import Assignment
from kdet.layers.distribution import global_uniform
from kdet.registry import register
from kdet.samplers.base import Sampler
from kdet.typing import Tensor


@register
class RandomSampler(Sampler):
    """Draws a fixed number of priors, at most a given share of them positive.

    Args:
        num: priors per image.
        pos_fraction: largest share of positives.
        neg_pos_ub: at most this many negatives per positive; -1 for no limit.
        add_gt_as_proposals: the objects themselves join the proposals (second stages only).
    """

    def __init__(
        self, num: int, pos_fraction: float, neg_pos_ub: int = -1, add_gt_as_proposals: bool = True
    ) -> None:
        self.num, self.pos_fraction, self.neg_pos_ub = num, pos_fraction, neg_pos_ub
        self.add_gt_as_proposals = add_gt_as_proposals

    @property
    def max_positives(self) -> int:
        """Most positives of one image."""
        return int(self.num * self.pos_fraction)

    def __call__(self, assignment: Assignment, seed: Tensor) -> Assignment:
        """The assignment with weight 0 for priors that were not drawn.

        Args:
            assignment: ``Assignment`` over ``[B,P]`` priors.
            seed: int32 ``[2]``, fixes the draw.
        """
        positive, negative = self._draw(assignment, *self._keys(assignment, seed))
        drawn = tf.logical_or(positive, negative)
        return assignment._replace(weight=tf.where(drawn, assignment.weight, 0.0))

    def select(self, assignment: Assignment, seed: Tensor) -> tuple[Tensor, Assignment]:
        """Draws a static number of rows, positives first.

        Returns:
            ``(indices [B,S] int32, Assignment [B,S])`` with ``S = min(num, P)``, or ``num`` where P differs
            from batch to batch; rows that could not be filled have weight 0. Positives are among the first
            ``max_positives`` rows.
        """
        return self._selected(assignment, *self._keys(assignment, seed))

    def _selected(
        self, assignment: Assignment, pos_key: Tensor, neg_key: Tensor
    ) -> tuple[Tensor, Assignment]:
        positive, negative = self._draw(assignment, pos_key, neg_key)
        priority = tf.where(positive, 2.0 + pos_key, tf.where(negative, 1.0 + neg_key, 0.0))
        priors = assignment.gt_index.shape[1]
        if priors is None:  # their number differs from batch to batch
            priority = tf.pad(priority, [[0, 0], [0, tf.maximum(self.num - tf.shape(priority)[1], 0)]])
        size = self.num if priors is None else min(self.num, priors)
        priority, rows = tf.math.top_k(priority, size)
        if priors is None:
            rows = tf.minimum(rows, tf.shape(assignment.gt_index)[1] - 1)
        gt_index = tf.gather(assignment.gt_index, rows, batch_dims=1)
        overlaps = assignment.overlaps
        if overlaps is not None:
            overlaps = tf.gather(overlaps, rows, batch_dims=1)
        return rows, Assignment(gt_index, tf.cast(priority > 0.0, tf.float32), overlaps)

    def _keys(self, assignment: Assignment, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Priorities in [0, 1) by which positives and negatives are drawn, ``[B,P]`` each."""
        batch, priors = tf.unstack(tf.shape(assignment.gt_index))
        keys = global_uniform(seed, batch, 2 * priors)
        return keys[:, :priors], keys[:, priors:]

    def _draw(self, assignment: Assignment, pos_key: Tensor, neg_key: Tensor) -> tuple[Tensor, Tensor]:
        positive = first_by_key(assignment.positive, pos_key, self.max_positives)
        num_positive = tf.reduce_sum(tf.cast(positive, tf.int32), 1)
        budget = self.num - num_positive
        if self.neg_pos_ub >= 0:
            budget = tf.minimum(budget, self.neg_pos_ub * tf.maximum(num_positive, 1))
        return positive, first_by_key(assignment.negative, neg_key, self.num, budget)


def first_by_key(candidates: Tensor, key: Tensor, limit: int, budget: Tensor | None = None) -> Tensor:
    """The candidates with the largest keys.

    Args:
        candidates: bool ``[B,P]``.
        key: float ``[B,P]`` in [0, 1).
        limit: static upper bound of how many.
        budget: int32 ``[B]``, how many per image (``limit`` when None).

    Returns:
        bool ``[B,P]``.
    """
    size = candidates.shape[1]
    if size is not None and limit >= size and budget is None:
        return candidates
    limit = tf.minimum(limit, tf.shape(candidates)[1])
    key = tf.where(candidates, key, -1.0)
    ranked = tf.math.top_k(key, tf.maximum(limit, 1)).values  # [B, limit]; a limit of 0 needs a row, too
    budget = tf.fill([tf.shape(key)[0]], limit) if budget is None else tf.minimum(budget, limit)
    last = tf.gather(ranked, tf.maximum(budget - 1, 0)[:, None], batch_dims=1)  # [B, 1]
    return candidates & (key >= last) & (budget > 0)[:, None]


@register
class AllSampler(Sampler):
    """Takes every prior that the assigner counts (focal-loss detectors)."""

    def __call__(self, assignment: Assignment, seed: Tensor) -> Assignment:
        return assignment


@register
class OHEMSampler(RandomSampler):
    """Online hard example mining (Shrivastava et al., 2016): the highest losses instead of a draw.

    ``select`` needs the loss of every proposal: the RoI head computes it when ``needs_losses`` is set.
    """

    needs_losses = True

    def _keys(self, assignment: Assignment, losses: Tensor) -> tuple[Tensor, Tensor]:
        priors = tf.cast(tf.shape(assignment.gt_index)[1], tf.float32)
        rank = tf.argsort(tf.argsort(losses, axis=1), axis=1)
        key = tf.cast(rank, tf.float32) / priors
        return key, key
