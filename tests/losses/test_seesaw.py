"""Seesaw loss against its formula, object by object."""

import numpy as np
import tensorflow as tf

from kdet.losses import SeesawLoss


def by_the_formula(logits, label, counts, p=0.8, q=2.0, epsilon=0.01):
    scores = np.exp(logits) / np.exp(logits).sum()
    weights = np.ones(len(logits))
    for j in range(len(logits)):
        if j != label:
            ratio = max(counts[j], 1.0) / max(counts[label], 1.0)
            weights[j] *= ratio**p if ratio < 1 else 1.0
            ratio = scores[j] / max(scores[label], epsilon)
            weights[j] *= ratio**q if ratio > 1 else 1.0
    total = (weights * np.exp(logits)).sum()
    return -np.log(np.exp(logits[label]) / total)


def test_rare_and_overrated_classes_are_weighed():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (6, 5))
    labels, counts = [0, 1, 2, 3, 4, 4], np.array([100.0, 10.0, 1.0, 0.0, 1000.0])
    loss = SeesawLoss()
    moved = loss.weighed(tf.constant(logits), tf.constant(labels), tf.constant(counts, tf.float32))
    wanted = [by_the_formula(row, label, counts) for row, label in zip(logits, labels)]
    np.testing.assert_allclose(loss.elementwise(moved, tf.constant(labels)), wanted, rtol=1e-5)
    np.testing.assert_allclose(
        loss(moved, tf.constant(labels), tf.constant([1.0, 0.0, 0.0, 0.0, 0.0, 1.0]), 2.0),
        (wanted[0] + wanted[5]) / 2,
        rtol=1e-5,
    )


def test_scores_are_no_road_of_the_gradient():
    logits = tf.Variable([[2.0, -1.0]])
    loss = SeesawLoss(p=0.0)
    with tf.GradientTape() as tape:
        moved = loss.weighed(logits, tf.constant([1]), tf.constant([1.0, 1.0]))
        total = tf.reduce_sum(moved)
    np.testing.assert_allclose(tape.gradient(total, logits), [[1.0, 1.0]])
