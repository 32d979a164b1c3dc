"""Ranks within groups, and the smallest of many."""

import tensorflow as tf

from kdet.ops.heap_select import smallest_by_heap
from kdet.ops.nth_element import smallest_by_nth_element
from kdet.typing import Tensor

TOPK_SHARE = 64  # rows of so many times the count are long for torch.topk


def rank_within(groups: Tensor, key: Tensor, num_groups: int) -> Tensor:
    """Place of every element among those of its group, by rising key.

    Args:
        groups: int32 ``[B,P]`` in 0 .. num_groups - 1.
        key: float ``[B,P]``.
        num_groups: int or scalar tensor.

    Returns:
        ``(rank int32 [B,P], counts int32 [B,num_groups])``.
    """
    order = tf.argsort(key, axis=1, stable=True)
    order = tf.gather(
        order, tf.argsort(tf.gather(groups, order, batch_dims=1), axis=1, stable=True), batch_dims=1
    )
    rank = tf.argsort(order, axis=1)  # the inverse of the order by group, then key
    rows = tf.range(tf.shape(groups)[0])[:, None] * num_groups
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(groups), groups + rows, tf.shape(groups)[0] * num_groups
    )
    counts = tf.reshape(counts, [-1, num_groups])
    starts = tf.cumsum(counts, axis=1, exclusive=True)
    return rank - tf.gather(starts, groups, batch_dims=1), counts


def inverse_permutation(order: Tensor) -> Tensor:
    """The place of every index in ``order [P]``, a permutation: int32 ``[P]``.

    XLA's own op for it wants to know the order when it compiles.
    """
    return tf.scatter_nd(order[:, None], tf.range(tf.size(order)), tf.shape(order))


def smallest(values: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` smallest ``values [...,P]``, ascending, equal ones by index."""
    return tf.math.top_k(-values, count).indices


def smallest_in_passing(values: Tensor, count: int) -> Tensor:
    """As ``smallest``, but of equal values those, in that order, that ``torch.topk`` takes on CPU.

    Args:
        values: float ``[...,P]``, no NaN.
        count: int.
    """
    length = values.shape[-1] or tf.shape(values)[-1]
    rows = tf.reshape(values, [-1, length])
    is_long = TOPK_SHARE * count <= length
    if isinstance(is_long, bool):
        found = smallest_by_heap(rows, count) if is_long else smallest_by_nth_element(rows, count)
    else:
        found = tf.cond(
            is_long, lambda: smallest_by_heap(rows, count), lambda: smallest_by_nth_element(rows, count)
        )
    return tf.reshape(found, tf.concat([tf.shape(values)[:-1], [count]], 0))
