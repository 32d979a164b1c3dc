import numpy as np
import tensorflow as tf

from kdet import ops


def test_equals_the_reference(golden, form):
    case = golden("fast_nms")
    indices, labels, scores, num = ops.fast_nms(
        case["boxes"][None],
        case["scores"][None],
        iou_threshold=0.5,
        score_threshold=0.2,
        top_k=20,
        max_output=100,
    )
    count = len(case["found"])
    assert int(num[0]) == count
    np.testing.assert_array_equal(indices[0, :count], case["kept"])
    np.testing.assert_array_equal(labels[0, :count], case["labels"])
    np.testing.assert_allclose(scores[0, :count], case["found"][:, 4])
    assert not np.any(scores[0, count:])


def test_by_hand(form):
    # In class 0 box 1 loses against box 0 and box 2 against box 1, although that is gone.
    boxes = tf.constant([[[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]]], tf.float32)
    scores = tf.constant([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.6]]])
    found = ops.fast_nms(boxes, scores, iou_threshold=0.5, score_threshold=0.3, top_k=3, max_output=4)
    indices, labels, kept, num = (value.numpy().tolist() for value in found)
    assert (indices, labels, num) == ([[0, 2, 0, 0]], [[0, 1, 0, 0]], [2])
    np.testing.assert_allclose(kept, [[0.9, 0.6, 0, 0]])


def test_ties_and_limits(form):
    boxes = tf.tile([[[0.0, 0.0, 1.0, 1.0]]], [1, 5, 1]) + tf.range(5.0)[:, None] * 10
    scores = tf.ones([1, 5, 2]) * 0.5
    settings = dict(iou_threshold=0.5, score_threshold=0.1)
    indices, labels, _, num = ops.fast_nms(boxes, scores, top_k=2, max_output=3, **settings)
    assert indices.numpy().tolist() == [[0, 1, 0]] and labels.numpy().tolist() == [[0, 0, 1]] and num[0] == 3
    _, _, _, num = ops.fast_nms(boxes[:, :0], scores[:, :0], top_k=2, max_output=3, **settings)
    assert num.numpy().tolist() == [0]
    assert ops.fast_nms(boxes, scores, top_k=9, max_output=20, **settings)[3].numpy().tolist() == [10]


def test_areas_that_overflow(form):
    boxes = tf.constant([[[0, 0, 1e38, 1e38], [0, 0, 1e38, 5e37], [0, 0, 1, 1]]], tf.float32)
    found = ops.fast_nms(
        boxes, [[[0.9], [0.8], [0.7]]], iou_threshold=0.5, score_threshold=0.1, top_k=3, max_output=3
    )
    assert found[0].numpy().tolist() == [[0, 2, 0]] and found[3].numpy().tolist() == [2]
