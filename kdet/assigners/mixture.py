"""Positives as one of two groups of losses: the second step of PAA (Kim & Lee, 2020, arXiv:2007.08103)."""

import math
from collections.abc import Sequence

import tensorflow as tf

from kdet.assigners.blocks import of_objects
from kdet.contract import Assignment
from kdet.registry import Component, register
from kdet.typing import Tensor

MAX_STEPS, TOLERANCE = 100, 1e-3  # of expectation and maximization
LEAST_VARIANCE = 1e-6


@register
class MixtureSelection(Component):
    """Keeps, of the anchors that a first assigner gave an object, those that belong to the better group.

    The losses of an object's best anchors per level are taken for draws from two normal distributions. Of
    the anchors that the one with the lower mean explains better, those count whose loss is not above the
    likeliest one's (figure 3c of the paper).

    Args:
        top_k: anchors of an object per level.
    """

    def __init__(self, top_k: int = 9) -> None:
        self.top_k = top_k

    def __call__(
        self, assignment: Assignment, losses: Tensor, level_sizes: Sequence[int], num_objects: Tensor
    ) -> Assignment:
        """The assignment with the other anchors as background.

        Args:
            assignment: of the first step, ``[B,P]``.
            losses: ``[B,P]``, of classification and box as if the anchor were a positive.
            level_sizes: anchors of every level, ints or scalar tensors.
            num_objects: rows G of the targets.
        """
        values, anchors = self.candidates(assignment, losses, level_sizes, num_objects)  # [B, G, K]
        valid = tf.math.is_finite(values)
        chosen = select(tf.where(valid, values, 0.0), valid)
        rows = tf.broadcast_to(tf.range(tf.shape(losses)[0])[:, None, None], tf.shape(anchors))
        marks = tf.scatter_nd(
            tf.stack([rows, anchors], -1), tf.cast(chosen, tf.int32), tf.shape(losses, tf.int32)
        )
        return Assignment(tf.where(marks > 0, assignment.gt_index, -1), assignment.weight)

    def candidates(
        self, assignment: Assignment, losses: Tensor, level_sizes: Sequence[int], num_objects: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses (infinite: none) and anchors of every object, the best first: ``[B,G,K]`` each."""
        numbers = tf.broadcast_to(tf.range(num_objects), [tf.shape(losses)[0], num_objects])
        mine = tf.where(assignment.positive & tf.math.is_finite(losses), assignment.gt_index, -1)  # [B, P]

        def best(numbers: Tensor) -> tuple[Tensor, Tensor]:
            own = tf.where(mine[:, None] == numbers[..., None], losses[:, None], float("inf"))  # [B, g, P]
            values, anchors, start = [], [], 0
            for size in level_sizes:
                level = -own[:, :, start : start + size]
                top = tf.math.top_k(level, tf.minimum(self.top_k, size))
                values.append(-top.values)
                anchors.append(top.indices + start)
                start += size
            return tf.concat(values, -1), tf.concat(anchors, -1)

        values, anchors = of_objects(best, [numbers], [losses.dtype, tf.int32])
        order = tf.argsort(values, stable=True)
        return tf.gather(values, order, batch_dims=2), tf.gather(anchors, order, batch_dims=2)


def select(values: Tensor, valid: Tensor) -> Tensor:
    """Which of the ascending ``values [...,K]`` (where ``valid``) belong to the lower group: bool."""
    values = tf.cast(values, tf.float64)
    log_probability = fit_two_normals(values, valid)  # [..., K, 2]
    lower = valid & (log_probability[..., 0] >= log_probability[..., 1])
    likelihood = tf.where(lower, tf.reduce_logsumexp(log_probability, -1), -float("inf"))
    last = tf.argmax(likelihood, -1, output_type=tf.int32)[..., None]
    places = tf.range(tf.shape(values)[-1])
    several = tf.reduce_sum(tf.cast(valid, tf.int32), -1, keepdims=True) >= 2
    return lower & (places <= last) & several


def fit_two_normals(values: Tensor, valid: Tensor) -> Tensor:
    """Fits a mixture of two normal distributions by expectation and maximization.

    They start at the extremes with variance 1. A row stops when its mean log-likelihood moves by less than
    ``TOLERANCE``.

    Args:
        values: float64 ``[...,K]``.
        valid: bool ``[...,K]``.

    Returns:
        Log of weight times density under each, float64 ``[...,K,2]``.
    """
    count = tf.cast(valid, tf.float64)
    total = tf.maximum(tf.reduce_sum(count, -1), 1.0)  # [...]
    low = tf.reduce_min(tf.where(valid, values, float("inf")), -1)
    high = tf.reduce_max(tf.where(valid, values, -float("inf")), -1)
    found = tf.math.is_finite(low)
    mean = tf.stack([tf.where(found, low, 0.0), tf.where(found, high, 0.0)], -1)  # [..., 2]

    def step(
        index: Tensor, done: Tensor, before: Tensor, weight: Tensor, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, ...]:
        log_probability = weighted_density(values, weight, mean, variance)
        norm = tf.reduce_logsumexp(log_probability, -1)
        share = tf.exp(log_probability - norm[..., None]) * count[..., None]  # [..., K, 2]
        size = tf.reduce_sum(share, -2) + 10 * 2.220446049250313e-16
        new_mean = tf.reduce_sum(share * values[..., None], -2) / size
        square = tf.reduce_sum(share * tf.square(values)[..., None], -2) / size
        new_variance = tf.maximum(square - tf.square(new_mean), 0.0) + LEAST_VARIANCE
        bound = tf.reduce_sum(norm * count, -1) / total
        keep = done[..., None]
        return (
            index + 1,
            done | (tf.abs(bound - before) < TOLERANCE),
            bound,
            tf.where(keep, weight, size / total[..., None]),
            tf.where(keep, mean, new_mean),
            tf.where(keep, variance, new_variance),
        )

    start = (
        tf.constant(0),
        ~found,
        tf.fill(tf.shape(low), tf.constant(-float("inf"), tf.float64)),
        tf.ones_like(mean) * 0.5,
        mean,
        tf.ones_like(mean),
    )
    _, _, _, weight, mean, variance = tf.while_loop(
        lambda index, done, *_: ~tf.reduce_all(done), step, start, maximum_iterations=MAX_STEPS
    )
    return weighted_density(values, weight, mean, variance)


def weighted_density(values: Tensor, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log of ``weight`` times the normal density, ``[...,K,2]``."""
    weight, mean, variance = (x[..., None, :] for x in (weight, mean, variance))
    square = tf.square(values[..., None] - mean) / variance
    return tf.math.log(weight) - 0.5 * (square + tf.math.log(2.0 * math.pi * variance))
