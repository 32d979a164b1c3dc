"""Matching at the least cost, with as many priors for an object as its best overlaps add up to."""

import tensorflow as tf

from kdet.assigners.atss import scatter_rows
from kdet.contract import Assignment
from kdet.typing import Tensor


def dynamic_matches(cost: Tensor, overlaps: Tensor, usable: Tensor, candidates: int) -> Assignment:
    """The ``Assignment`` of SimOTA (Ge et al., 2021, arXiv:2107.08430) and what follows it.

    Args:
        cost: ``[B,G,P]`` of an object taking a prior, infinite where it cannot.
        overlaps: IoUs ``[B,G,P]``, 0 where the prior cannot be taken.
        usable: bool ``[B,P]``, priors that take part in the losses.
        candidates: an object takes as many priors as the IoUs of its best ``candidates`` ones add up to,
            rounded down, and one at least.

    Returns:
        ``Assignment`` with the IoU of the positives with their object.
    """
    matched = _taken(cost, overlaps, candidates)  # [B, G, P]
    count = tf.reduce_sum(tf.cast(matched, tf.int32), 1)  # [B, P]
    # a prior that several objects want goes to the one that it costs least, whoever that is
    index = tf.where(
        count > 1, tf.argmin(cost, 1, tf.int32), tf.argmax(tf.cast(matched, tf.int8), 1, tf.int32)
    )
    index = tf.where(count > 0, index, -1)
    best = tf.gather(tf.transpose(overlaps, [0, 2, 1]), tf.maximum(index, 0), batch_dims=2)
    return Assignment(index, tf.cast(usable, tf.float32), tf.where(index >= 0, best, 0.0))


def _taken(cost: Tensor, overlaps: Tensor, candidates: int) -> Tensor:
    """Which priors each object takes: bool ``[B,G,P]``."""
    count = cost.shape[2] if cost.shape[2] is not None else tf.shape(cost)[2]
    limit = tf.minimum(candidates, count)
    total = tf.reduce_sum(tf.math.top_k(overlaps, limit).values, -1)
    wanted = tf.maximum(tf.cast(total, tf.int32), 1)  # [B, G]
    least = tf.math.top_k(-cost, limit)  # of equal costs the first
    taken = (tf.range(limit) < wanted[..., None]) & tf.math.is_finite(least.values)
    return scatter_rows(taken, least.indices, count)
