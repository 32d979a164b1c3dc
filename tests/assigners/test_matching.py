"""The cheapest matching, by SciPy and by the loops that XLA compiles."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners.matching import cheapest_matching

under_xla = tf.function(cheapest_matching, jit_compile=True)


def summed(cost, matched):
    """Summed cost and number of the matched pairs of every problem."""
    rows, places = np.nonzero(matched >= 0)
    costs = np.zeros(len(matched))
    np.add.at(costs, rows, cost[rows, places, matched[rows, places]])
    return costs, np.bincount(rows, minlength=len(matched))


@pytest.mark.parametrize("predictions,objects", [(9, 5), (4, 7)])
def test_loops_are_as_cheap_as_scipy(predictions, objects):
    rng = np.random.default_rng(0)
    cost = rng.normal(size=(40, predictions, objects)).astype(np.float32)
    cost[20:] = np.round(cost[20:])  # with ties
    real = rng.random((40, objects)) < 0.7
    real[0], real[1] = False, True
    expected, found = (run(cost, real).numpy() for run in (cheapest_matching, under_xla))
    assert found.dtype == np.int32
    for matched in (expected, found):
        for row, own in enumerate(matched):
            own = own[own >= 0]
            assert len(set(own)) == len(own) == min(predictions, real[row].sum()) and real[row][own].all()
    np.testing.assert_allclose(summed(cost, found)[0], summed(cost, expected)[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found[:20], expected[:20])


def test_costs_that_are_no_numbers_are_no_match():
    cost = np.full([3, 4, 3], np.nan, np.float32)
    cost[1:] = np.inf
    cost[1, 2, 0], cost[2, :3] = 5.0, [[1, 2, 3], [4, -np.inf, 1], [np.nan, 0, 9]]
    for run in (cheapest_matching, under_xla):
        matched = run(cost, np.ones([3, 3], bool)).numpy()
        np.testing.assert_array_equal(matched, [[-1] * 4, [-1, -1, 0, -1], [0, 2, 1, -1]])
