"""AutoAssign: weights of points, and objects that overlap."""

import numpy as np
import tensorflow as tf

from kdet.heads.dense.autoassign import CenterPrior, covered_by_later, points_inside


def test_points_on_the_border_are_outside():
    points = tf.constant([[5.0, 5.0, 8.0], [0.0, 5.0, 8.0], [9.9, 9.9, 8.0]])
    inside = points_inside(points, tf.constant([[[0.0, 0.0, 10.0, 10.0]]]))
    assert inside.numpy()[0, :, 0].tolist() == [True, False, True]


def test_prior_falls_off_from_the_center_in_strides():
    prior = CenterPrior(3)
    points = tf.constant([[10.0, 10.0, 8.0], [18.0, 10.0, 8.0], [18.0, 10.0, 16.0]])
    weight = prior(points, tf.constant([[[0.0, 0.0, 20.0, 20.0]]]), tf.constant([[2]]))[0, :, 0]
    np.testing.assert_allclose(weight, [1.0, np.exp(-0.5), np.exp(-0.125)], rtol=1e-6)


def test_the_last_object_of_a_class_decides():
    inside = tf.constant([[[True, True, True], [True, False, True]]])  # [1, 2 points, 3 objects]
    covered = covered_by_later(inside, tf.constant([[4, 4, 7]])).numpy()[0]
    assert covered.tolist() == [[True, False, False], [False, False, False]]
