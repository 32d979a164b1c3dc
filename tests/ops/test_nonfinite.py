"""NaN and infinity in the inputs of every op: one rule for the compiled and the portable form."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled
from tests.ops.cases import CASES

pytestmark = pytest.mark.skipif(compiled.why_not() is not None, reason="compares with the compiled library")
BAD = (np.nan, np.inf, -np.inf)
FILTERS = {"masked_conv2d": 1, "conv3x3": 1, "grouped_conv2d": 1}  # op: argument
FAR = (3e38, -3e38)  # numbers all the same: far off every map


def results(case, tensors, form):
    with ops.use(form):
        return [np.asarray(out, np.float64) for out in tf.nest.flatten(case.call(*map(tf.constant, tensors)))]


def spoilt(case, argument, value, seed):
    """The tensors of a case, one with a few numbers replaced."""
    tensors = [np.array(tensor) for tensor in case.tensors]
    flat, random = tensors[argument].reshape(-1), np.random.default_rng(seed)
    flat[random.integers(0, flat.size, 3)] = value
    return tensors


@pytest.mark.parametrize(
    ("name", "argument"), [(name, argument) for name, case in CASES.items() for argument in case.positions]
)
def test_positions(name, argument):
    """Both forms give the same, NaN for NaN."""
    for seed, value in enumerate(BAD + FAR):
        tensors = spoilt(CASES[name], argument, value, seed)
        for one, other in zip(*(results(CASES[name], tensors, form) for form in ("compiled", "portable"))):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=f"{value}")


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, case in CASES.items()
        for argument in range(len(case.tensors))
        if argument not in case.positions and name != "rasterize_polygons"
    ],
)
def test_values(name, argument):
    """What is finite is the same. The compiled form loses no more than the portable one, whose products with
    weights of 0 are NaN too.

    But for filters: whether TensorFlow multiplies them with the zeros behind a border differs by processor.
    """
    for seed, value in enumerate(BAD):
        tensors = spoilt(CASES[name], argument, value, seed)
        for one, other in zip(*(results(CASES[name], tensors, form) for form in ("compiled", "portable"))):
            finite = np.isfinite(other)
            if FILTERS.get(name) == argument:
                finite &= np.isfinite(one)
                assert finite.sum() > finite.size // 2
            np.testing.assert_allclose(one[finite], other[finite], rtol=1e-4, atol=1e-4, err_msg=f"{value}")


@pytest.mark.parametrize("form", ["compiled", "portable"])
def test_a_lost_box_is_no_candidate(form):
    boxes = np.float32(
        [[[0, 0, 10, 10], [np.nan, 0, 10, 10], [0, 0, np.inf, 9], [0, 0, 10, 9], [30, 30, 40, 40]]]
    )
    scores = np.float32([[0.5, 0.9, 0.8, 0.4, np.nan]])
    with ops.use(form):
        indices, count = ops.nms(boxes, scores, iou_threshold=0.5, max_output=3)
        soft, kept, found = ops.soft_nms(boxes, scores, max_output=3, min_score=0.1)
        fast, _, _, number = ops.fast_nms(
            boxes, scores[..., None], iou_threshold=0.5, score_threshold=0.1, top_k=5, max_output=3
        )
    assert (indices[0, 0], count[0], fast[0, 0], number[0]) == (0, 1, 0, 1)
    assert found[0] == 1 and soft[0, 0] == 0 and kept[0, 0] == np.float32(0.5)


@pytest.mark.parametrize("form", ["compiled", "portable"])
def test_a_lost_box_pools_nan_and_moves_nothing(form):
    features, boxes = (
        tf.ones([1, 6, 6, 2]),
        tf.constant([[[0, 0, 4, 4], [0, float("nan"), 4, 4]]], tf.float32),
    )
    with ops.use(form), tf.GradientTape() as tape:
        tape.watch(features)
        pooled = ops.roi_align(features, boxes, 2)
        total = tf.reduce_sum(pooled[:, 0])
    np.testing.assert_allclose(pooled[0, 0], np.ones([2, 2, 2]), rtol=1e-5)
    assert np.isnan(pooled[0, 1]).all()
    np.testing.assert_allclose(tf.reduce_sum(tape.gradient(total, features)), 8, rtol=1e-5)
    with ops.use(form):
        assert not np.any(ops.paste_masks(tf.ones([1, 2, 4, 4]), boxes, 6, 6)[0, 1])
        masks = tf.fill([1, 1, 6, 1], tf.constant(255, tf.uint8))
        assert not np.any(ops.crop_masks(masks, boxes, tf.zeros([1, 2], tf.int32), 2)[0, 1])
