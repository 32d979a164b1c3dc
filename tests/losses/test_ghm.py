"""Gradient-harmonised losses: the histograms over steps, by hand."""

import numpy as np
import tensorflow as tf

from kdet.losses import ghm


def logit(p):
    return np.float32(np.log(p / (1 - p)))


def test_histogram_of_gradients_moves_with_its_momentum():
    loss = ghm.GHMClassificationLoss(bins=4, momentum=0.75, loss_weight=2.0)
    # lengths |p - t|: 0.1, 0.3 | 0.4 of an object of class 1, 0.2 | of weight 0: not counted
    pred = tf.constant(logit(np.array([[0.1, 0.3], [0.2, 0.6], [0.9, 0.9]])))
    labels, weight = tf.constant([2, 1, 0]), tf.constant([1.0, 1.0, 0.0])
    # bins of a quarter: 0.1 and 0.2 | 0.3 and 0.4 | none | none
    first = 2.0 * sum(-np.log(1 - g) / (0.25 * 2) / 2 for g in (0.1, 0.2, 0.3, 0.4))
    np.testing.assert_allclose(loss(pred, labels, weight), first, rtol=1e-5)
    np.testing.assert_allclose(loss.acc_sum, [0.5, 0.5, 0, 0])
    # one element in the third bin: the others keep their counts
    pred, labels = tf.constant([[logit(0.6)]]), tf.constant([1])
    second = 2.0 * -np.log(0.4) / 0.25
    np.testing.assert_allclose(loss(pred, labels, tf.ones([1])), second, rtol=1e-5)
    np.testing.assert_allclose(loss.acc_sum, [0.5, 0.5, 0.25, 0])
    loss(pred, labels, tf.ones([1]))
    np.testing.assert_allclose(loss.acc_sum, [0.5, 0.5, 0.75 * 0.25 + 0.25, 0])


def test_smooth_difference_of_boxes():
    loss = ghm.GHMRegressionLoss(mu=0.3, bins=5, momentum=0.0, loss_weight=1.0)
    # d = 0.4: the root is 0.5, the length 0.8; d = 0: length 0
    value = loss(tf.constant([[0.4, 1.0]]), tf.constant([[0.0, 1.0]]), tf.ones([1]))
    np.testing.assert_allclose(value, 0.2 / 2, rtol=1e-5)
    np.testing.assert_allclose(loss.acc_sum, [1, 0, 0, 0, 1])
    assert ghm.GHMRegressionLoss().mu == 0.02 and ghm.GHMClassificationLoss().bins == 10
