"""Ranks within groups."""

import tensorflow as tf


def rank_within(groups, key, num_groups):
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
