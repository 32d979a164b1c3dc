"""Prime sample attention's choice of negatives, by hand."""

import numpy as np
import tensorflow as tf

from kdet.contract import Assignment
from kdet.samplers import ScoreHLRSampler

# a positive; two negatives of one group (IoU 0.8), one by itself, one that does not score; one not counted
INDEX, WEIGHT = tf.constant([[0, -1, -1, -1, -1, -1]]), tf.constant([[1.0, 1, 1, 1, 1, 0]])
BOXES = tf.constant(
    [[[50.0, 50, 60, 60], [0, 0, 10, 8], [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [70, 0, 80, 9]]]
)
SCORES = tf.constant([[0.9, 0.6, 0.9, 0.07, 0.05, 0.8]])
LOSSES = tf.constant([[5.0, 3.0, 2.0, 1.0, 4.0, 7.0]])


def sampler(**options):
    return ScoreHLRSampler(num=5, pos_fraction=0.4, **options)


def test_the_best_of_every_group_come_first():
    valid = tf.constant([[False, True, True, True, False, False]])
    # scores 0.9 and 0.07 lead their groups, 0.6 is second in one
    np.testing.assert_array_equal(sampler().ranks(BOXES, SCORES, valid), [[3, 2, 0, 1, 4, 5]])


def test_negatives_weigh_by_their_rank_and_lose_nothing_together():
    assignment = Assignment(INDEX, WEIGHT)
    given = sampler(power=2.0, bias=0.2)
    rows, got = given.select_scored(assignment, tf.constant([0, 1]), SCORES, BOXES, LOSSES)
    assert rows.numpy()[0].tolist() == [0, 2, 3, 1, 4]
    # of four negatives: 4/4, 3/4, 2/4; what does not score counts like the last that does
    raw = (0.2 + 0.8 * np.array([4, 3, 2, 2]) / 4) ** 2
    losses = np.array([2.0, 1, 3, 4])
    np.testing.assert_allclose(got.weight[0], [1, *(raw * losses.sum() / (raw * losses).sum())], rtol=1e-5)


def test_without_scores_all_negatives_weigh_the_same():
    rows, got = sampler().select_scored(
        Assignment(INDEX, WEIGHT), tf.constant([0, 1]), tf.fill([1, 6], 0.01), BOXES, LOSSES
    )
    assert rows.numpy()[0, 0] == 0 and set(rows.numpy()[0, 1:]) == {1, 2, 3, 4}
    np.testing.assert_allclose(got.weight, np.ones((1, 5)), rtol=1e-6)
