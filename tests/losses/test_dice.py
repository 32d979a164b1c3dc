import numpy as np
import pytest
import tensorflow as tf

from kdet.losses import DiceLoss


def test_both_forms_by_hand():
    pred, target = tf.constant([[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]), tf.constant([[1.0, 1.0, 0.0], [0.0] * 3])
    squared = DiceLoss(epsilon=0.001).elementwise(pred, target)
    np.testing.assert_allclose(squared, [1 - 3.0 / (1.25 + 2 + 0.002), 1.0], rtol=1e-6)
    plain = DiceLoss(squared=False, epsilon=1.0).elementwise(pred, target)
    np.testing.assert_allclose(plain, [1 - 4.0 / 4.5, 0.0], rtol=1e-6)


def test_weights_and_normalizer():
    pred, target = tf.ones([2, 4]), tf.constant([[1.0] * 4, [0.0] * 4])
    loss = DiceLoss(squared=False, epsilon=1.0, loss_weight=5.0)
    assert float(loss(pred, target, tf.constant([0.0, 1.0]), tf.constant(2.0))) == pytest.approx(
        2.0, rel=1e-5
    )
