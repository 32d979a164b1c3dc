"""Prime sample attention: the samples that decide the AP count more (Cao et al., 2020)."""

import tensorflow as tf

from kdet.ops import rank_within


def prime_sample_weights(
    ious, groups, num_groups, labels, num_classes, losses, positive, power=2.0, bias=0.0
):
    """Weights of the positives by their IoU hierarchical local rank; their loss keeps its sum.

    Args:
        ious: ``[N]``, IoU of the predicted box with the object's.
        groups: int32 ``[N]``, the object of each positive, in 0 .. num_groups - 1.
        num_groups: int or scalar tensor.
        labels: int32 ``[N]``, class of each positive.
        num_classes: number of classes.
        losses: ``[N]``, classification losses.
        positive: bool ``[N]``.
        power, bias: of the map from rank to weight.

    Returns:
        float32 ``[N]``, no gradient; 1 for the others.
    """
    ious, losses = tf.stop_gradient(ious), tf.stop_gradient(losses)

    def ranks(groups, number, key):
        groups = tf.where(positive, groups, number)  # the others in a group of their own
        rank, counts = rank_within(groups[None], key[None], number + 1)
        return tf.cast(rank[0], tf.float32), tf.cast(tf.reduce_max(counts[0, :-1]), tf.float32)

    # best of each object first, then the second best of each ...
    _, most = ranks(labels, num_classes, ious)
    local, _ = ranks(groups, num_groups, -ious)
    rank, _ = ranks(labels, num_classes, -(ious + most - local))
    weight = tf.math.divide_no_nan(most - rank, most)
    weight = tf.where(positive, tf.pow(bias + weight * (1.0 - bias), power), 0.0)
    before = tf.reduce_sum(tf.where(positive, losses, 0.0))
    ratio = tf.math.divide_no_nan(before, tf.reduce_sum(losses * weight))
    return tf.where(positive, weight * ratio, 1.0)


def classification_aware_box_loss(losses, probabilities, positive, avg_factor, power=1.0, bias=0.2):
    """Box losses of the positives weighted by the probability of their class, which learns from it.

    Args:
        losses: ``[..., 4]``, elementwise.
        probabilities: ``[...]`` of the right class.
        positive: bool ``[...]``.
        avg_factor: the sum is divided by it.
        power, bias: of the map from probability to weight.

    Returns:
        The scalar loss; the weights are scaled to a mean of 1.
    """
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    weight = tf.where(positive, tf.pow(bias + (1.0 - bias) * probabilities, power), 0.0)
    weight *= tf.math.divide_no_nan(count, tf.reduce_sum(weight))
    losses = tf.where(positive[..., None], losses * weight[..., None], 0.0)
    return tf.reduce_sum(losses) / tf.maximum(avg_factor, 1.0)
