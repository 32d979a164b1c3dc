"""Batch statistics of the rows that count, and pooling to a given size."""

import numpy as np
import tensorflow as tf

from kdet.layers import BatchNorm, adaptive_max_pool, statistics_of_rows


def test_rows_that_fill_the_batch_do_not_enter_the_statistics():
    x = np.random.default_rng(0).normal(size=(5, 3, 2, 4)).astype("float32")
    layer, alone = BatchNorm(), BatchNorm()
    with statistics_of_rows(tf.constant([1.0, 0.0, 1.0, 1.0, 0.0])):
        y = layer(x, training=True)
    kept = x[[0, 2, 3]]
    np.testing.assert_allclose(y.numpy()[[0, 2, 3]], alone(kept, training=True), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, alone.moving_mean, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, alone.moving_variance, atol=1e-6)


def test_statistics_of_no_rows_are_finite_and_leave_the_running_ones():
    layer = BatchNorm()
    with statistics_of_rows(tf.zeros(2)):
        y = layer(tf.ones([2, 1, 1, 3]) * 4.0, training=True)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(layer.moving_mean, 0.0)
    np.testing.assert_array_equal(layer.moving_variance, 1.0)


def test_adaptive_max_pool_windows_may_overlap():
    x = tf.reshape(tf.constant([3.0, 1.0, 4.0, 1.0, 5.0]), [1, 5, 1, 1])
    pooled = adaptive_max_pool(x, tf.zeros([1, 3, 1, 1]))
    # windows 0..1, 1..3, 3..4
    np.testing.assert_array_equal(pooled.numpy().ravel(), [3.0, 4.0, 5.0])
    whole = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
    np.testing.assert_array_equal(
        adaptive_max_pool(whole, tf.zeros([1, 2, 2, 1]))[0, ..., 0], [[5.0, 7.0], [13.0, 15.0]]
    )
