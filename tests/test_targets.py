"""The gate of training: what is converted, what is refused and how, outside and inside of a graph."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.checks import plain_errors
from kdet.inputs import as_inputs
from kdet.targets import as_targets, check_images

IMAGES = tf.zeros([2, 32, 36, 3], tf.uint8)
BOXES = [[[2, 3, 20, 30], [0, 0, 0, 0]], [[1, 1, 9, 9], [4, 4, 30, 31]]]
LABELS = [[1, -1], [0, 2]]


def targets(**changes):
    return {"boxes": np.array(BOXES, np.float32), "labels": np.array(LABELS, np.int32), **changes}


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint8, np.float16])
def test_boxes_and_labels_of_any_kind(kind):
    labels = np.array(LABELS, np.int64 if kind == np.uint8 else kind)
    found = as_targets({"boxes": np.array(BOXES, kind), "labels": labels}, IMAGES, 3)
    assert found["boxes"].dtype == tf.float32 and found["labels"].dtype == tf.int32
    np.testing.assert_array_equal(found["boxes"], BOXES)
    np.testing.assert_array_equal(found["labels"], LABELS)


def test_lists_and_ragged_tensors_are_padded():
    ragged = {
        "boxes": tf.ragged.constant([[BOXES[0][0]], BOXES[1]], inner_shape=(4,), dtype=tf.float64),
        "labels": tf.ragged.constant([[1], [0, 2]], dtype=tf.int64),
    }
    for given in (ragged, {"boxes": BOXES, "labels": LABELS}):
        found = as_targets(given, IMAGES, 3)
        np.testing.assert_array_equal(found["boxes"], BOXES)
        np.testing.assert_array_equal(found["labels"], LABELS)
    nothing = {
        "boxes": tf.RaggedTensor.from_row_splits(tf.zeros([0, 4]), [0, 0, 0]),
        "labels": tf.ragged.constant([[], []]),
    }
    assert as_targets(nothing, IMAGES, 3)["boxes"].shape == (2, 1, 4)


def test_no_objects_are_a_row_of_padding():
    empty = {"boxes": np.zeros((2, 0, 4)), "labels": np.zeros((2, 0)), "masks": np.zeros((2, 0, 32, 5), bool)}
    found = as_targets(empty, IMAGES, 3)
    assert {k: v.shape.as_list() for k, v in found.items()} == {
        "boxes": [2, 1, 4], "labels": [2, 1], "masks": [2, 1, 32, 5],
    }  # fmt: skip
    assert (found["labels"].numpy() == -1).all()


WRONG = [
    ({"boxes": BOXES[0], "labels": LABELS[0]}, "boxes have shape .2, 4. .a single image needs a batch axis"),
    ({"boxes": np.zeros((2, 2, 5))}, "boxes have shape .2, 2, 5., not four numbers"),
    ({"labels": np.zeros((2, 3))}, "2 boxes per image but 3 labels"),
    ({"labels": np.zeros((2, 2, 3))}, "labels have shape .2, 2, 3."),
    ({"labels": [["cat", "dog"]] * 2}, "labels are string, not numbers"),
    ({"boxes": np.zeros((3, 2, 4))}, "boxes are of 3 images, not 2"),
    ({"labels": [[1], [0, 2]]}, "labels are no array .*pad the rows"),
    ({"masks": np.zeros((2, 2, 32, 36), bool)}, "masks have shape .* the last axis is 5: pack them"),
    ({"lables": LABELS}, "no key 'lables'; did you mean 'labels'"),
    ({"area": [1]}, "no key 'area'; leave it out"),
    ({"labels": None}, "lack 'labels'"),
]  # fmt: skip


@pytest.mark.parametrize("changes, message", WRONG)
def test_what_is_seen_before_any_step(changes, message):
    with pytest.raises(ValueError, match=message):
        as_targets(targets(**changes), IMAGES, 3)


@pytest.mark.parametrize("given", [None, [{"boxes": BOXES}], np.zeros(3)])
def test_targets_are_a_dict(given):
    with pytest.raises(ValueError, match="Targets are a dict of boxes .* got "):
        as_targets(given, IMAGES, 3)


BAD_VALUES = [
    ({"labels": [[1, -1], [0, 3]]}, "labels from -1 to 3, but the model has 3 classes: .* from 0 to 2"),
    ({"labels": [[1, -2], [0, 2]]}, "labels from -2 to 2"),
    ({"labels": [[0.5, -1], [0, 2]]}, "labels must be whole numbers"),
    ({"boxes": np.array(BOXES) / 40}, r"scaled to 0..1 \(the largest number is 0.77"),
    ({"boxes": np.array(BOXES)[..., [2, 1, 0, 3]]}, "x2 < x1 or y2 < y1"),
    ({"boxes": np.array(BOXES) * [[[np.nan], [1]]]}, "NaN or infinite"),
    ({"boxes": np.array(BOXES) + 40}, r"begins outside of the images \(height and width \[32,? 36\]\)"),
]  # fmt: skip


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("changes, message", BAD_VALUES)
def test_values_that_are_refused(changes, message, in_graph):
    check = tf.function(lambda given: as_targets(given, IMAGES, 3), autograph=False)
    check = check if in_graph else check.python_function
    given = {key: tf.constant(value) for key, value in targets(**changes).items()}
    with pytest.raises(ValueError, match=message), plain_errors():
        check(given)


def test_padding_may_hold_anything_and_labels_are_free_without_classes():
    boxes = np.array(BOXES, np.float32)
    boxes[0, 1] = np.nan
    assert as_targets(targets(boxes=boxes), IMAGES, 3)["labels"].shape == (2, 2)
    assert as_targets(targets(labels=[[7, -1], [9, 9]]), IMAGES)["labels"][1, 1] == 9


def test_images_scaled_to_one_are_refused():
    noise = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    with pytest.raises(ValueError, match="images look scaled to 0..1"):
        check_images(noise)
    for fine in (
        noise * 255,
        tf.zeros([1, 8, 8, 3]),
        tf.fill([1, 8, 8, 3], 0.5),
        tf.cast(noise > 0.5, tf.uint8),
    ):
        check_images(fine)
    check_images(noise, step=3)


@pytest.mark.parametrize(
    "given, message",
    [
        (
            tf.zeros([8, 8, 3]),
            r"must be \[B,H,W,3\] RGB; got \(8, 8, 3\) \(a single image needs a batch axis",
        ),
        (tf.zeros([1, 8, 8, 1]), r"got \(1, 8, 8, 1\)"),
        ({"image": tf.zeros([1, 8, 8, 3])}, "lack 'images' .* they have image"),
    ],
)
def test_inputs_that_are_no_batch_of_images(given, message):
    with pytest.raises(ValueError, match=message):
        as_inputs(given)
