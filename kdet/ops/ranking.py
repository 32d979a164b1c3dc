"""Ranks within groups, and the smallest of many."""

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


def smallest(values, count):
    """Indices of the ``count`` smallest ``values [...,P]``, ascending, equal ones by index."""
    return tf.math.top_k(-values, count).indices


def smallest_in_passing(values, count):
    """As ``smallest``, but of those that tie for the last places a selection takes that goes through the row
    once, keeps ``count`` and lets the first of the ties go when something smaller comes.
    """
    limit = tf.gather(values, smallest(values, count), batch_dims=values.shape.rank - 1)[..., -1:]
    candidate, below = values <= limit, values < limit
    kept_once = candidate & (_running_count(candidate) <= count)
    tied = kept_once & ~below
    places = count - tf.reduce_sum(tf.cast(below, tf.int32), -1, keepdims=True)
    chosen = below | (tied & (_running_count(tied, reverse=True) <= places))
    return smallest(tf.where(chosen, values, float("inf")), count)


def _running_count(flags, reverse=False):
    return tf.cumsum(tf.cast(flags, tf.int32), axis=-1, reverse=reverse)
