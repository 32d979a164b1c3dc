import numpy as np
import tensorflow as tf

from kdet.contract import Assignment
from kdet.samplers import OHEMSampler, RandomSampler


def drawn(sampler, positives, negatives, seed=0):
    index = np.r_[np.zeros(positives), -np.ones(negatives)][None].astype(np.int32)
    got = sampler(Assignment(tf.constant(index), tf.ones(index.shape)), tf.constant([0, seed]))
    weight = got.weight.numpy()[0]
    return weight[:positives].sum(), weight[positives:].sum()


def test_sampler_counts():
    sampler = RandomSampler(num=20, pos_fraction=0.5)
    assert drawn(sampler, 30, 100) == (10, 10)
    assert drawn(sampler, 3, 100) == (3, 17)
    assert drawn(sampler, 0, 5) == (0, 5)
    assert drawn(RandomSampler(num=20, pos_fraction=0.5, neg_pos_ub=3), 2, 100) == (2, 6)
    assert drawn(RandomSampler(num=1000, pos_fraction=0.5), 3, 5) == (3, 5)


def test_selected_rows_start_with_the_positives_and_end_with_padding():
    index = tf.constant([[-1, 0, -1, 1, -1]])
    weight = tf.constant([[1.0, 1, 0, 1, 1]])
    rows, got = RandomSampler(num=8, pos_fraction=0.5).select(Assignment(index, weight), tf.constant([0, 1]))
    assert set(rows.numpy()[0, :2]) == {1, 3}
    np.testing.assert_array_equal(got.weight[0], [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(got.positive[0], [True, True, False, False, False])


def test_hard_examples_come_first():
    index = tf.constant([[0, 0, -1, -1, -1]])
    losses = tf.constant([[1.0, 9.0, 5.0, 0.1, 7.0]])
    rows, got = OHEMSampler(num=3, pos_fraction=0.4).select(Assignment(index, tf.ones([1, 5])), losses)
    assert rows.numpy()[0].tolist() == [1, 4, 2]
    np.testing.assert_array_equal(got.gt_index[0], [0, -1, -1])
