"""Assignment by predictions, TOOD's and that of DDOD, worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import ATSSAssigner, TaskAlignedAssigner

# five priors of 8x8 in a row; their middles at 4, 12, 20, 28, 36
PRIORS = tf.constant([[8.0 * i, 0.0, 8.0 * i + 8, 8.0] for i in range(5)])


def targets(boxes, labels):
    return {"boxes": tf.constant([boxes], tf.float32), "labels": tf.constant([labels], tf.int32)}


def test_best_aligned_priors_inside_are_positive_and_scaled_to_the_best_overlap():
    box = [0, 0, 32, 8]
    # IoUs 1, 0.5, 0.25, 0, 1 (the last one's middle is outside)
    predicted = tf.constant([[[0, 0, 32, 8], [0, 0, 16, 8], [0, 0, 8, 8], [40, 0, 48, 8], box]], tf.float32)
    scores = tf.constant([[[0.0, 0.5], [0.0, 1.0], [0.0, 0.8], [0.0, 0.9], [0.0, 0.9]]])
    found = TaskAlignedAssigner(topk=4, alpha=1.0, beta=2.0)(
        PRIORS, targets([box, [0, 0, 0, 0]], [1, -1]), None, predicted, scores=scores
    )
    # alignment 0.5, 0.25, 0.05, 0, 0.9: the fourth has none, the fifth is not inside
    np.testing.assert_array_equal(found.gt_index, [[0, 0, 0, -1, -1]])
    np.testing.assert_allclose(found.overlaps, [[1.0, 0.5, 0.1, 0.0, 0.0]], rtol=1e-5)
    np.testing.assert_array_equal(found.weight, np.ones([1, 5]))


def test_a_prior_of_two_objects_goes_to_the_one_that_it_overlaps_most():
    boxes = [[0, 0, 16, 8], [0, 0, 32, 8]]
    predicted = tf.constant([[[0, 0, 24, 8]] * 5], tf.float32)  # IoU 2/3 and 3/4
    scores = tf.constant([[[0.9, 0.1]] * 5])
    found = TaskAlignedAssigner()(PRIORS, targets(boxes, [0, 1]), None, predicted, scores=scores)
    np.testing.assert_array_equal(found.gt_index, [[1, 1, 1, 1, -1]])
    valid = tf.constant([[False, True, True, True, True]])
    found = TaskAlignedAssigner()(PRIORS, targets(boxes, [0, 1]), valid, predicted, scores=scores)
    np.testing.assert_array_equal(found.gt_index, [[-1, 1, 1, 1, -1]])
    np.testing.assert_array_equal(found.weight, [[0, 1, 1, 1, 1]])


def test_only_the_best_are_taken():
    box = [0, 0, 40, 8]
    predicted = tf.constant([[box] * 5], tf.float32)
    scores = tf.constant([[[0.1], [0.5], [0.3], [0.2], [0.4]]])
    found = TaskAlignedAssigner(topk=2)(PRIORS, targets([box], [0]), None, predicted, scores=scores)
    np.testing.assert_array_equal(found.gt_index, [[-1, 0, -1, -1, 0]])
    np.testing.assert_allclose(found.overlaps, [[0, 1, 0, 0, 0.8]], rtol=1e-5)


def test_atss_with_alpha_lets_predictions_compete():
    box = [0, 0, 40, 8]
    predicted = tf.constant([[box, box, [0, 0, 20, 8], box, box]], tf.float32)
    scores = tf.constant([[[0.01], [0.01], [0.64], [0.81], [0.01]]])
    # roots of score and IoU: 0.1, 0.1, 0.8 * 0.707, 0.9, 0.1; mean + deviation 0.353 + 0.363 = 0.716
    found = ATSSAssigner(topk=9, alpha=0.5)(
        PRIORS, targets([box], [0]), None, predicted, level_sizes=[5], scores=scores
    )
    np.testing.assert_array_equal(found.gt_index, [[-1, -1, -1, 0, -1]])
    np.testing.assert_allclose(found.overlaps[0, 3], 0.9, rtol=1e-5)
    with pytest.raises(ValueError, match="give it boxes and scores"):
        ATSSAssigner(alpha=0.5)(PRIORS, targets([box], [0]), level_sizes=[5])
