"""Stochastic depth: whole residuals, by image, by the step's seed, in training steps only."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.layers import drop_path, drop_path_rates, dropping_paths


def dropped(seed, rate=0.5, images=64):
    with dropping_paths(tf.constant(seed)):
        return drop_path(tf.ones([images, 2, 3]), rate).numpy()


def test_nothing_is_dropped_outside_of_a_training_step():
    x = tf.ones([4, 2])
    assert drop_path(x, 0.9) is x
    with dropping_paths(tf.constant([1, 2])):
        assert drop_path(x, 0.0) is x


def test_images_lose_the_whole_residual_or_get_it_scaled():
    y = dropped([0, 7])
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[:, :1, :1]).all()
    assert 16 < (y[:, 0, 0] == 0).sum() < 48


def test_the_seed_decides():
    np.testing.assert_array_equal(dropped([0, 7]), dropped([0, 7]))
    assert (dropped([0, 7]) != dropped([0, 8])).any()


def test_blocks_draw_on_their_own():
    with dropping_paths(tf.constant([0, 7])):
        first, second = (drop_path(tf.ones([64, 1]), 0.5).numpy() for _ in range(2))
    assert (first != second).any()


def test_rates_rise_evenly():
    rates = drop_path_rates(0.3, [1, 2, 1])
    assert [len(stage) for stage in rates] == [1, 2, 1]
    assert sum(rates, []) == pytest.approx([0.0, 0.1, 0.2, 0.3])
