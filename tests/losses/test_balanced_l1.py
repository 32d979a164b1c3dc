"""The balanced form of smooth L1."""

import numpy as np
import tensorflow as tf

from kdet.losses import BalancedL1Loss


def test_value_and_slope_meet_at_beta():
    x = tf.constant([0.5, 0.999999, 1.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = BalancedL1Loss().elementwise(x, tf.zeros(4))
    b = np.exp(3.0) - 1.0
    middle = 0.5 / b * (b * 0.5 + 1) * np.log(b * 0.5 + 1) - 0.25
    np.testing.assert_allclose(loss[0], middle, rtol=1e-6)
    np.testing.assert_allclose(loss[1], loss[2], rtol=1e-5)
    np.testing.assert_allclose(loss[3] - loss[2], 3.0, rtol=1e-6)
    # the slope rises as alpha * ln(b x + 1) and stays at gamma
    slopes = [0.5 * np.log(b * 0.5 + 1), 1.5, 1.5, 1.5]
    np.testing.assert_allclose(tape.gradient(loss, x), slopes, rtol=1e-5)
