"""Matching at the least cost, with as many priors for an object as its best overlaps add up to."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from kdet.assigners.atss import scatter_rows
from kdet.assigners.blocks import first_best, over_objects
from kdet.contract import Assignment
from kdet.typing import Tensor


def dynamic_matches(
    prices: Callable[..., tuple[Tensor, Tensor]],
    rows: Sequence[Tensor],
    real: Tensor,
    usable: Tensor,
    candidates: int,
) -> Assignment:
    """The ``Assignment`` of SimOTA (Ge et al., 2021, arXiv:2107.08430) and what follows it.

    Args:
        prices: gets the ``rows`` of some objects and which of them are real; gives the cost ``[B,g,P]`` of an
            object taking a prior, infinite where it cannot, and the IoUs ``[B,g,P]``, 0 where it cannot.
        rows: of the objects, ``[B,G,...]`` each.
        real: bool ``[B,G]``, which rows are objects.
        usable: bool ``[B,P]``, priors that take part in the losses.
        candidates: an object takes as many priors as the IoUs of its best ``candidates`` ones add up to,
            rounded down, and one at least.

    Returns:
        ``Assignment`` with the IoU of the positives with their object.
    """
    none = tf.zeros_like(usable, tf.int32)
    zero = tf.cast(none, tf.float32)

    def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
        count, flag, taker, own, least, cheapest, other = found
        cost, overlaps = prices(*some)
        matched = _taken(cost, overlaps, candidates)  # [B, g, P]
        count += tf.reduce_sum(tf.cast(matched, tf.int32), 1)
        takers = first_best(flag, taker, tf.cast(matched, tf.float32), first, (own, overlaps))
        return [count, *takers, *first_best(least, cheapest, -cost, first, (other, overlaps))]

    start = [none, zero, none, zero, zero - float("inf"), none, zero]
    count, _, taker, own, _, cheapest, other = over_objects(add, rows, real, start)
    # a prior that several objects want goes to the one that it costs least, whoever that is
    index = tf.where(count > 1, cheapest, taker)
    best = tf.where(count > 1, other, own)
    matched = count > 0
    return Assignment(tf.where(matched, index, -1), tf.cast(usable, tf.float32), tf.where(matched, best, 0.0))


def _taken(cost: Tensor, overlaps: Tensor, candidates: int) -> Tensor:
    """Which priors each object takes: bool ``[B,g,P]``."""
    count = cost.shape[2] if cost.shape[2] is not None else tf.shape(cost)[2]
    limit = tf.minimum(candidates, count)
    total = tf.reduce_sum(tf.math.top_k(overlaps, limit).values, -1)
    wanted = tf.maximum(tf.cast(total, tf.int32), 1)  # [B, g]
    least = tf.math.top_k(-cost, limit)  # of equal costs the first
    taken = (tf.range(limit) < wanted[..., None]) & tf.math.is_finite(least.values)
    return scatter_rows(taken, least.indices, count)
