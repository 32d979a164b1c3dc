"""Sampling in equal shares."""

import numpy as np
import tensorflow as tf

from kdet.contract import Assignment
from kdet.ops import rank_within
from kdet.samplers import BalancedSampler


def assignment(gt_index, overlaps):
    gt_index = tf.constant([gt_index])
    return Assignment(gt_index, tf.ones(tf.shape(gt_index)), tf.constant([overlaps], tf.float32))


def drawn(sampler, given, step=0):
    return sampler(given, tf.constant([7, step])).weight.numpy()[0] > 0


def test_rank_within_counts_places_in_each_group():
    rank, counts = rank_within(tf.constant([[1, 0, 1, 0, 1]]), tf.constant([[0.9, 0.5, 0.1, 0.2, 0.4]]), 3)
    np.testing.assert_array_equal(rank, [[2, 1, 0, 0, 1]])
    np.testing.assert_array_equal(counts, [[2, 3, 0]])


def test_positives_are_shared_out_over_the_objects():
    given = assignment([0] * 96 + [1] * 4, [0.8] * 100)
    sampler = BalancedSampler(num=32, pos_fraction=0.5)
    for step in range(5):
        rows = drawn(sampler, given, step)
        # 16 positives: at most 16 / 2 + 1 = 9 of an object at first, so that all of the rare one are in
        assert rows[96:].sum() == 4 and rows.sum() == 16


def test_negatives_are_shared_out_over_the_overlaps():
    # the largest overlap is 0.9: bins of 0.3; most negatives lie in the first bin, many overlap nothing
    overlaps = [0.1] * 60 + [0.4] * 20 + [0.7] * 20 + [0.0] * 50 + [0.9]
    given = assignment([-1] * 150 + [0], overlaps)
    sampler = BalancedSampler(num=31, pos_fraction=0.25)
    for step in range(5):
        rows = drawn(sampler, given, step)
        assert [rows[a:b].sum() for a, b in ((0, 60), (60, 80), (80, 100), (100, 150))] == [10, 10, 10, 0]
    few = assignment([-1] * 12 + [0], [0.1, 0.1, 0.4] + [0.0] * 9 + [0.9])
    rows = drawn(BalancedSampler(num=7, pos_fraction=0.25), few)
    assert rows[:3].all() and rows.sum() == 7  # what overlaps comes before what does not


def test_the_largest_overlap_shares_the_last_bin():
    # 0.9 / 0.3 is the end of the last bin, not a bin of its own
    given = assignment([-1] * 7, [0.1, 0.1, 0.1, 0.7, 0.7, 0.7, 0.9])
    rows = np.array([drawn(BalancedSampler(num=3, pos_fraction=0.25), given, step) for step in range(12)])
    assert (rows[:, :3].sum(1) >= 1).all() and (rows[:, 3:].sum(1) >= 1).all()
    assert rows[:, 6].sum() < 12  # else it would come first every time


def test_an_object_with_one_positive_always_has_it():
    # two objects share four: at most 4 / 2 + 1 of the common one come first
    given = assignment([0] * 20 + [1], [0.8] * 21)
    for step in range(12):
        rows = drawn(BalancedSampler(num=8, pos_fraction=0.5), given, step)
        assert rows[20] and rows.sum() == 4
