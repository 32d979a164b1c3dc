"""From candidates to detections, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import postprocess
from kdet.contract import Candidates

# the second overlaps the first by 0.8, the third by 0.5; the fourth lies elsewhere
BOXES = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 5, 10], [20, 20, 30, 30]]])


@pytest.mark.parametrize("rows", [4, None])
@pytest.mark.parametrize(
    ("limit", "scores", "picked", "labels"),
    [
        (2, [0.9, 0.8], [3, 1], [1, 0]),
        (3, [0.9, 0.8, 0.7], [3, 1, 3], [1, 0, 0]),
        (9, [0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1, 0.0], [3, 1, 3, 0, 1, 2, 0, 2], [1, 0, 0, 1, 1, 0, 0, 1]),
    ],
)
def test_the_best_pairs_of_row_and_class(rows, limit, scores, picked, labels):
    given = tf.constant([[[0.1, 0.6], [0.8, 0.5], [0.2, 0.0], [0.7, 0.9]]])
    top = tf.function(
        lambda x: postprocess.top_candidates(x, limit), input_signature=[tf.TensorSpec([1, rows, 2])]
    )
    got = [x.numpy()[0].tolist() for x in top(given)]
    np.testing.assert_allclose(got[0], scores)
    assert got[1:] == [picked, labels]


@pytest.mark.parametrize("columns", [4, None])
def test_the_best_rows_are_static_where_the_rows_are(columns):
    top = tf.function(lambda x: postprocess.top_rows(x, 3), input_signature=[tf.TensorSpec([None, columns])])
    values, rows = top(tf.constant([[1.0, 4.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(values, [[4, 3, 2]])
    np.testing.assert_array_equal(rows, [[1, 3, 2]])
    assert top.get_concrete_function().output_shapes[0].as_list() == [None, columns and 3]
    assert postprocess.top_rows(tf.constant([[1.0, 2.0]]), 3)[1].numpy().tolist() == [[1, 0]]


def test_suppression_is_within_a_class_and_of_candidates():
    scores = tf.constant([[0.9, 0.8, 0.0, -1.0]])
    assert float(postprocess.keep_above(tf.constant(0.3), 0.3)) == postprocess.INVALID_SCORE == -1.0
    found, rows = postprocess.NMS(0.5)(BOXES, scores, tf.constant([[2, 2, 2, 2]]), 4)
    # an overlap of just the threshold stays, and so does a score of zero; the fourth is no candidate
    assert found["num_detections"].numpy().tolist() == [2] and rows.numpy()[0, :2].tolist() == [0, 2]
    np.testing.assert_array_equal(found["labels"], [[2, 2, -1, -1]])
    np.testing.assert_allclose(found["scores"], [[0.9, 0, 0, 0]])
    np.testing.assert_array_equal(found["boxes"][0, 2:], np.zeros((2, 4)))
    found = postprocess.PostProcess(max_per_image=3)(Candidates(BOXES, scores, tf.constant([[2, 1, 2, 2]])))
    np.testing.assert_array_equal(found["labels"], [[2, 1, 2]])


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"iou_threshold": 0.6}, [0.9, 0.5, 0.8 * 0.2]),
        ({"method": "gaussian", "sigma": 0.5}, [0.9, 0.5 * np.exp(-0.25 / 0.5), 0.8 * np.exp(-0.64 / 0.5)]),
    ],
)
def test_soft_suppression_lowers_scores(options, left):
    scores, labels = tf.constant([[0.9, 0.8, 0.5, -1.0]]), tf.zeros([1, 4], tf.int32)
    boxes = tf.tensor_scatter_nd_update(BOXES, [[0, 2]], [[0.0, 0, 5, 10]])
    found, rows = postprocess.SoftNMS(**options)(boxes, scores, labels, 4)
    assert found["num_detections"].numpy().tolist() == [3]
    if "method" in options:  # the two that are left overlap too: (0, 0, 5, 8) is 40 of 90
        left[2] *= np.exp(-((40 / 90) ** 2) / 0.5)
    np.testing.assert_allclose(found["scores"][0, :3], left, rtol=1e-5)


def test_queries_are_ranked_and_put_back_into_the_image():
    scores = tf.constant([[[0.1, 0.6], [0.8, 0.7], [0.3, 0.2], [0.5, 0.4]]])
    info = {"scale": tf.constant([[2.0, 1.0]])}
    found = postprocess.TopQueries(max_per_image=3)(scores, BOXES, info)
    np.testing.assert_allclose(found["scores"], [[0.8, 0.7, 0.6]])
    np.testing.assert_array_equal(found["labels"], [[0, 1, 1]])
    np.testing.assert_array_equal(found["boxes"][0], [[0, 0, 10, 4], [0, 0, 10, 4], [0, 0, 10, 5]])
    assert found["num_detections"].numpy().tolist() == [3]
    found = postprocess.TopQueries(max_per_image=7, one_label=True)(scores, BOXES, info)
    np.testing.assert_allclose(found["scores"], [[0.8, 0.6, 0.5, 0.3]])  # each query once
    np.testing.assert_array_equal(found["labels"], [[0, 1, 0, 0]])
