import time

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops.compiled import why_not


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


def kept(boxes, scores, labels=None, **settings):
    """The rows that are kept of every image."""
    indices, num = ops.nms(boxes, scores, labels, **{"iou_threshold": 0.5, "max_output": 9, **settings})
    return [row[:n].tolist() for row, n in zip(indices.numpy(), num.numpy(), strict=True)]


def test_classes_by_offset_and_by_label(form):
    # class 1 moves by 60 + 1, onto the box of class 0 there: the reference keeps two
    boxes = tf.constant([[[0, 0, 10, 10], [-11, -11, -1, -1], [50, 50, 60, 60]]], tf.float32)
    scores, labels = [[0.9, 0.8, 0.7]], [[0, 1, 0]]
    assert kept(boxes, scores, labels) == kept(boxes, scores, labels, separate="offset") == [[0, 1]]
    assert kept(boxes, scores, labels, separate="label") == [[0, 1, 2]]
    assert kept(boxes, scores, [[0, 0, 0]], separate="label") == kept(boxes, scores) == [[0, 1, 2]]
    with pytest.raises(ValueError, match="separate is 'class'"):
        kept(boxes, scores, labels, separate="class")


@pytest.mark.parametrize("separate", ["offset", "label"])
@pytest.mark.parametrize("shift,labels", [(0, 3), (-30, 3), (-200, 3), (0, 100000)])
def test_forms_agree_on_classes(separate, shift, labels):
    """Also where classes meet: coordinates below zero, and offsets too large for float32."""
    rng = np.random.RandomState(0)
    boxes = rng.rand(2, 60, 4) * 50 + shift
    boxes[..., 2:] = boxes[..., :2] + rng.rand(2, 60, 2) * 30
    arguments = boxes, np.round(rng.rand(2, 60), 1), rng.randint(0, labels, (2, 60))
    portable, compiled = (
        kept(*arguments, max_output=60, separate=separate, implementation=form)
        for form in ("portable", "compiled" if why_not() is None else "portable")
    )
    assert portable == compiled


@pytest.mark.parametrize("separate", ["offset", "label"])
def test_by_label_is_nms_of_every_class(form, separate):
    rng = np.random.RandomState(1)
    boxes = (rng.rand(1, 50, 4) * 40).astype("f")
    boxes[..., 2:] = boxes[..., :2] + rng.rand(1, 50, 2) * 30
    scores, labels = rng.rand(1, 50), rng.randint(0, 4, 50)
    alone = [
        kept(boxes, np.where(labels == c, scores, -1), score_threshold=0, max_output=50)[0] for c in range(4)
    ]
    expected = sorted(sum(alone, []), key=lambda i: -scores[0, i])
    assert kept(boxes, scores, labels[None], separate=separate, max_output=50) == [expected]


def test_boxes_without_area_meet_none(form):
    """Inverted ones too, as in the reference."""
    boxes = tf.constant([[[10, 10, 0, 0], [10, 10, 0, 0], [0, 0, 10, 10], [0, 10, 10, 0], [3, 3, 3, 9]]])
    assert kept(tf.cast(boxes, tf.float32), [[0.9, 0.8, 0.7, 0.6, 0.5]]) == [[0, 1, 2, 3, 4]]


CANDIDATES = np.random.RandomState(2).rand(3, 30, 4).astype("f") * 40
CANDIDATES[..., 2:] += CANDIDATES[..., :2]
SCORES = np.round(np.random.RandomState(3).rand(3, 30), 1).astype("f")


@pytest.mark.parametrize("separate", ["offset", "label"])
@pytest.mark.parametrize(
    "boxes,scores,max_output",
    [
        (CANDIDATES, SCORES, 20),  # many are equal
        (CANDIDATES, np.where(SCORES < 0.3, np.nan, SCORES), 20),
        (CANDIDATES, np.where(SCORES < 0.3, -np.inf, SCORES), 50),  # more outputs than boxes
        (CANDIDATES[..., [2, 3, 0, 1]], SCORES, 30),
        (CANDIDATES[:1, :0], SCORES[:1, :0], 5),
        (CANDIDATES[:0], SCORES[:0], 5),
        (CANDIDATES, SCORES, 0),
    ],
    ids=["ties", "nan", "few", "inverted", "no boxes", "no images", "no outputs"],
)
def test_xla_equals_the_others(form, boxes, scores, max_output, separate):
    labels = np.arange(scores.size).reshape(scores.shape) % 2

    def run():
        settings = dict(iou_threshold=0.5, max_output=max_output, separate=separate)
        return ops.nms(boxes, scores, labels, **settings)

    expected = run()
    with ops.use("portable"):
        found = tf.function(run, jit_compile=True)()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "changed,sentence",
    [
        (dict(scores=tf.zeros([1, 3])), r"scores must be \[B,N\] with B=1, N=2, not of shape \(1, 3\)"),
        (dict(labels=[[0]]), "labels must be"),
        (dict(boxes=tf.zeros([1, 2, 5])), "boxes must be"),
        (dict(iou_threshold=1.5), "iou_threshold is 1.5"),
        (dict(max_output=-1), "max_output is -1, but must be an int >= 0"),
    ],
)
def test_arguments_that_do_not_fit(form, changed, sentence):
    arguments = dict(boxes=tf.zeros([1, 2, 4]), scores=tf.zeros([1, 2]), iou_threshold=0.5, max_output=3)
    with pytest.raises(ValueError, match=sentence):
        ops.nms(**{**arguments, **changed})


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
