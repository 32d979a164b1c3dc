import time

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("agnostic", [False, True])
def test_equals_the_reference(golden, form, agnostic):
    check(golden, agnostic, None)


def test_xla_equals_the_reference(golden, portable):
    check(golden, False, True)


def check(golden, agnostic, jit_compile):
    case = golden("nms")

    @tf.function(jit_compile=jit_compile)
    def run(boxes, scores, labels):
        labels = None if agnostic else labels
        return ops.nms(boxes, scores, labels, iou_threshold=0.5, max_output=200, score_threshold=0.1)

    indices, num = run(case["boxes"], case["scores"], case["labels"])
    for i in range(2):
        expected = case[f"hard_{'agnostic' if agnostic else 'class'}_{i}_index"]
        assert int(num[i]) == len(expected)
        np.testing.assert_array_equal(indices[i, : num[i]], expected)
        assert not np.any(indices[i, num[i] :])


def test_by_hand(form):
    boxes = tf.constant([[[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 9], [20, 0, 30, 10]]], tf.float32)
    scores = tf.constant([[0.5, 0.9, 0.8, 0.3]])
    # IoU of box 1 is exactly 0.5 with box 0 and 5/9 with box 2: only the latter is above.
    indices, num = ops.nms(boxes, scores, iou_threshold=0.5, max_output=4, score_threshold=0.3)
    assert num.numpy().tolist() == [2] and indices.numpy().tolist() == [[1, 0, 0, 0]]
    indices, num = ops.nms(boxes, scores, [[0, 0, 1, 1]], iou_threshold=0.5, max_output=2)
    assert num.numpy().tolist() == [2] and indices.numpy().tolist() == [[1, 2]]


def test_nothing_to_keep(form):
    indices, num = ops.nms(tf.zeros([2, 0, 4]), tf.zeros([2, 0]), iou_threshold=0.5, max_output=3)
    assert indices.shape == (2, 3) and num.numpy().tolist() == [0, 0]
    boxes = tf.zeros([1, 5, 4])
    _, num = ops.nms(boxes, tf.zeros([1, 5]), tf.zeros([1, 5], tf.int32), iou_threshold=0.5, max_output=3,
                     score_threshold=0.05)  # fmt: skip
    assert num.numpy().tolist() == [0]


def test_many_candidates_below_the_threshold_cost_little(form):
    rng = np.random.RandomState(0)
    boxes = (rng.rand(1, 80000, 4) * 100).astype("f")
    boxes[..., 2:] += boxes[..., :2]
    scores = (rng.rand(1, 80000) ** 50).astype("f")
    labels = rng.randint(0, 80, (1, 80000))

    def run():
        return ops.nms(boxes, scores, labels, iou_threshold=0.5, max_output=100, score_threshold=0.9)

    run()
    start = time.perf_counter()
    _, num = run()
    assert int(num[0]) == 100
    assert time.perf_counter() - start < 1.0
