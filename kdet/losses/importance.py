"""Weights by importance: prime samples in detection (PISA, Cao et al., 2019)."""

import tensorflow as tf


def rank_within(groups, values):
    """Rank of every value among those of its group, 0 for the largest.

    Args:
        groups: int32 ``[N]``.
        values: ``[N]``.

    Returns:
        int32 ``[N]``.
    """
    order = tf.argsort(values, direction="DESCENDING", stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(groups, order), stable=True))
    ordered = tf.gather(groups, order)  # group by group, each by falling value
    rank = tf.range(tf.size(order)) - tf.searchsorted(ordered, ordered)
    return tf.scatter_nd(order[:, None], rank, tf.shape(order))


def positive_weights(overlaps, labels, objects, positive, losses, power=2.0, bias=0.0):
    """Class-loss weights of the positives by their IoU hierarchical local rank (ISR-P).

    Positives are ranked by IoU among those of their object, then, best of each object first, among those of
    their class in the whole batch. The weights leave the sum of the positives' losses as it is.

    Args:
        overlaps: ``[B,P]`` IoU of the predicted boxes with their objects.
        labels, objects: int32 ``[B,P]`` class and row of the object of each positive.
        positive: bool ``[B,P]``.
        losses: ``[B,P]`` class losses before weighting.
        power, bias: of the map from linear rank to weight.

    Returns:
        ``[B,P]``, 1 for the others; no gradient.
    """
    shape, flat = tf.shape(positive), tf.reshape(positive, [-1])
    picture = tf.range(shape[0])[:, None] * (tf.reduce_max(objects) + 1)
    members = tf.where(flat, tf.reshape(objects + picture, [-1]), -1)
    classes = tf.where(flat, tf.reshape(labels, [-1]), -1)
    largest = tf.reduce_max(tf.math.bincount(tf.where(flat, classes + 1, 0))[1:], keepdims=True)
    largest = tf.cast(tf.reduce_max(tf.concat([largest, [1]], 0)), tf.float32)
    overlaps = tf.reshape(overlaps, [-1])
    rounds = overlaps + largest - tf.cast(rank_within(members, overlaps), tf.float32)
    weights = (largest - tf.cast(rank_within(classes, rounds), tf.float32)) / largest
    weights = tf.where(flat, tf.pow(bias + tf.maximum(weights, 0.0) * (1.0 - bias), power), 0.0)
    losses = tf.where(flat, tf.reshape(losses, [-1]), 0.0)
    weights *= tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(losses * weights))
    return tf.stop_gradient(tf.reshape(tf.where(flat, weights, 1.0), shape))


def regression_weights(scores, positive, power=1.0, bias=0.2):
    """Box-loss weights of the positives by the score of their class (CARL), with mean 1.

    Args:
        scores: ``[B,P]`` probability of the true class; gradients flow.
        positive: bool ``[B,P]``.

    Returns:
        ``[B,P]``, 0 for the others.
    """
    weights = tf.where(positive, tf.pow(bias + (1.0 - bias) * scores, power), 0.0)
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    return weights * tf.math.divide_no_nan(count, tf.reduce_sum(weights))
