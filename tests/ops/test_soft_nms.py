import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_equals_the_reference(golden, form, method, agnostic):
    case = golden("nms")
    indices, scores, num = ops.soft_nms(
        case["boxes"],
        case["scores"],
        None if agnostic else case["labels"],
        max_output=200,
        iou_threshold=0.3,
        min_score=0.05,
        method=method,
        score_threshold=0.1,
    )
    for i in range(2):
        key = f"{method}_{'agnostic' if agnostic else 'class'}_{i}"
        assert int(num[i]) == len(case[f"{key}_index"])
        np.testing.assert_array_equal(indices[i, : num[i]], case[f"{key}_index"])
        np.testing.assert_allclose(scores[i, : num[i]], case[f"{key}_score"], rtol=1e-5)
        assert not np.any(scores[i, num[i] :])


def test_by_hand(form):
    boxes = tf.constant([[[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]]], tf.float32)
    indices, scores, num = ops.soft_nms(boxes, [[0.9, 0.8, 0.5]], max_output=2)
    assert indices.numpy().tolist() == [[0, 2]] and num.numpy().tolist() == [2]
    indices, scores, num = ops.soft_nms(boxes, [[0.9, 0.8, 0.5]], max_output=4, min_score=0.45)
    assert indices.numpy().tolist() == [[0, 2, 0, 0]]  # 0.8 * (1 - 0.5) is below
    np.testing.assert_allclose(scores, [[0.9, 0.5, 0, 0]])


def test_empty_and_bad_method(form):
    _, _, num = ops.soft_nms(tf.zeros([2, 0, 4]), tf.zeros([2, 0]), max_output=3)
    assert num.numpy().tolist() == [0, 0]
    with pytest.raises(ValueError, match="'cubic'"):
        ops.soft_nms(tf.zeros([1, 1, 4]), tf.zeros([1, 1]), max_output=3, method="cubic")


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_areas_that_overflow(form, method):
    """An overlap too large for a float counts as more than all; one within a union too large, as none."""
    far = 1e38
    boxes = [[0, 0, far, far], [0, 0, far, far / 2], [0, 0, far, 0], [0, 0, 1, 1], [-3 * far, 0, 3 * far, 1]]
    boxes = tf.constant([boxes], tf.float32)
    indices, scores, num = ops.soft_nms(
        boxes, [[0.9, 0.8, 0.7, 0.6, 0.5]], max_output=5, min_score=0.1, method=method
    )
    assert indices.numpy().tolist() == [[0, 2, 3, 4, 0]] and num.numpy().tolist() == [4]
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0.6, 0.5, 0]])
