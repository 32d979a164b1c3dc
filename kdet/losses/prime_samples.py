"""Prime sample attention: the samples that decide the AP count more (Cao et al., 2020)."""

import tensorflow as tf

from kdet.contract import Assignment
from kdet.ops import rank_within
from kdet.typing import Tensor


def prime_sample_weights(
    ious: Tensor,
    labels: Tensor,
    assignment: Assignment,
    num_objects: Tensor,
    num_classes: int,
    losses: Tensor,
    power: float = 2.0,
    bias: float = 0.0,
) -> Tensor:
    """Weights of the positives by their IoU hierarchical local rank; their loss keeps its sum.

    Positives are ranked by IoU among those of their object, then, best of each object first, among those of
    their class in the whole batch.

    Args:
        ious: ``[B,P]``, IoU of the predicted box with the object's.
        labels: int32 ``[B,P]``, class of each positive, in 0 .. num_classes - 1.
        assignment: ``Assignment [B,P]``.
        num_objects: rows of the targets, int or scalar tensor.
        num_classes: number of classes.
        losses: classification losses, ``[B,P]`` or any shape of as many elements.
        power, bias: of the map from rank to weight.

    Returns:
        float32 ``[B,P]``, no gradient; 1 for the others.
    """
    shape = tf.shape(labels)
    objects = assignment.gt_index + tf.range(shape[0])[:, None] * num_objects
    flat = [tf.reshape(x, [-1]) for x in (ious, losses, labels, objects, assignment.positive)]
    ious, losses, labels, objects, positive = map(tf.stop_gradient, flat)

    def ranks(groups: Tensor, number: int, key: Tensor) -> tuple[Tensor, Tensor]:
        groups = tf.where(positive, groups, number)  # the others in a group of their own
        rank, counts = rank_within(groups[None], key[None], number + 1)
        return tf.cast(rank[0], tf.float32), tf.cast(tf.reduce_max(counts[0, :-1]), tf.float32)

    # best of each object first, then the second best of each ...
    _, most = ranks(labels, num_classes, ious)
    local, _ = ranks(objects, shape[0] * num_objects, -ious)
    rank, _ = ranks(labels, num_classes, -(ious + most - local))
    weight = tf.math.divide_no_nan(most - rank, most)
    weight = tf.where(positive, tf.pow(bias + weight * (1.0 - bias), power), 0.0)
    before = tf.reduce_sum(tf.where(positive, losses, 0.0))
    ratio = tf.math.divide_no_nan(before, tf.reduce_sum(losses * weight))
    return tf.reshape(tf.where(positive, weight * ratio, 1.0), shape)


def classification_aware_box_loss(
    losses: Tensor,
    probabilities: Tensor,
    positive: Tensor,
    avg_factor: Tensor,
    power: float = 1.0,
    bias: float = 0.2,
) -> Tensor:
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
