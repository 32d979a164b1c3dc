"""Positives as the better of two groups of losses."""

import numpy as np
import tensorflow as tf

from kdet.assigners import MixtureSelection
from kdet.assigners.mixture import fit_two_normals, select
from kdet.contract import Assignment


def test_two_clear_groups_are_parted():
    values = tf.constant([[0.1, 0.11, 0.12, 3.0, 3.1, 3.3, 0.0]])
    valid = tf.constant([[True] * 6 + [False]])
    chosen = select(values, valid)[0].numpy()
    # the likeliest of the lower group is its middle; what is above it does not count
    assert chosen.tolist() == [True, True, False, False, False, False, False]


def test_the_fit_finds_means_and_shares():
    random = np.random.default_rng(0)
    values = np.sort(np.concatenate([random.normal(0, 0.1, 300), random.normal(5, 0.5, 100)]))
    density = fit_two_normals(tf.constant(values[None]), tf.ones([1, 400], tf.bool))[0].numpy()
    weight = np.exp(density - np.logaddexp(density[:, :1], density[:, 1:])).mean(0)
    np.testing.assert_allclose(weight, [0.75, 0.25], atol=1e-6)  # nine deviations lie between the groups
    assert abs(values[np.argmax(density[:, 0])]) < 0.05 and abs(values[np.argmax(density[:, 1])] - 5) < 0.15


def test_an_object_needs_two_candidates():
    one = select(tf.constant([[0.5, 0.0]]), tf.constant([[True, False]]))
    none = select(tf.constant([[0.0, 0.0]]), tf.constant([[False, False]]))
    assert not one.numpy().any() and not none.numpy().any()


def test_candidates_are_the_best_of_each_level():
    # two levels of four anchors; object 0 has five anchors, object 1 none, anchor 7 is background
    index = tf.constant([[0, 0, 0, -1, 0, 0, -1, -1]])
    losses = tf.constant([[0.3, 0.1, 0.2, 0.0, 5.0, 0.15, 0.0, 0.0]])
    assignment = Assignment(index, tf.ones([1, 8]))
    selection = MixtureSelection(top_k=2)
    values, anchors = selection.candidates(assignment, losses, [4, 4], 2)
    np.testing.assert_allclose(values[0, 0], [0.1, 0.15, 0.2, 5.0])
    assert anchors[0, 0].numpy().tolist() == [1, 5, 2, 4]
    assert np.isinf(values[0, 1]).all()
    found = selection(assignment, losses, [4, 4], 2)
    assert set(np.flatnonzero(found.gt_index.numpy()[0] == 0)) == {1, 5}
    assert found.weight.numpy().all()
