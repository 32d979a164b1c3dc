"""The adapter of the albumentations library (an optional dependency)."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.config import Config
from kdet.data import albu
from tests.data.steps import steps

pytest.importorskip("albumentations", reason="the optional extra kdet[albu] is not installed")

FLIP = {"type": "HorizontalFlip", "p": 1.0}


def sample_of(height=12, width=20):
    pixels = np.arange(height * width * 3).reshape(height, width, 3) % 251
    return {
        "image": tf.constant(pixels, tf.uint8),
        "boxes": tf.constant([[2.0, 3, 9, 8], [15, 1, 19, 5]]),
        "labels": tf.constant([4, 7]),
        "objects": tf.range(2),
        "ignore_boxes": tf.zeros([0, 4]),
        "rows": tf.range(height),
        "columns": tf.range(width),
    }


def straight(transforms):
    found = albu.Albumentations(transforms)
    found.prepare(masks=True)
    return found


def test_a_flip_moves_everything():
    found = straight([FLIP])(sample_of(), tf.constant([1, 2]))
    np.testing.assert_array_equal(found["image"], sample_of()["image"][:, ::-1])
    np.testing.assert_allclose(found["boxes"], [[11, 3, 18, 8], [1, 1, 5, 5]], atol=1e-4)
    np.testing.assert_array_equal(found["columns"], np.arange(20)[::-1])
    np.testing.assert_array_equal(found["rows"], np.arange(12))


def test_a_crop_drops_objects_with_their_labels():
    crop = {"type": "Crop", "x_min": 0, "y_min": 2, "x_max": 10, "y_max": 12, "p": 1.0}
    found = straight([crop])(sample_of(), tf.constant([1, 2]))
    np.testing.assert_allclose(found["boxes"], [[2, 1, 9, 6]], atol=1e-4)
    np.testing.assert_array_equal(found["labels"], [4])
    np.testing.assert_array_equal(found["rows"], np.arange(2, 12))


def test_the_seed_decides():
    colors = albu.Albumentations([{"type": "RGBShift", "p": 1.0}])
    images = [colors(sample_of(), tf.constant([1, i]))["image"].numpy() for i in (0, 1, 0)]
    np.testing.assert_array_equal(images[0], images[2])
    assert (images[0] != images[1]).any()


def test_what_masks_cannot_follow_is_refused():
    turn = [{"type": "Rotate", "limit": [30, 30], "p": 1.0}]
    assert albu.Albumentations(turn)(sample_of(), tf.constant([1, 2]))["image"].shape == (12, 20, 3)
    with pytest.raises(Exception, match="turns or bends images"):
        straight(turn)(sample_of(), tf.constant([1, 2]))


def test_a_recipe_can_list_transforms(coco):
    one_of = {"type": "OneOf", "transforms": [{"type": "Blur", "p": 1.0}, FLIP], "p": 0.5}
    both = [one_of, {"type": "ChannelShuffle", "p": 0.5}]
    coco["transforms"] = steps(Resize={"sizes": [[133, 80]]}, Albumentations={"transforms": both})
    for inputs, targets in kdet.data.load(coco, training=True, batch_size=1).dataset().take(4):
        assert inputs["images"].dtype == tf.uint8 and targets["masks"].shape[1] == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"type": "Blurr"}], "has no 'Blurr'"),
        (["Blur"], "must list mappings"),
    ],
)
def test_bad_lists_are_explained(given, words):
    with pytest.raises(ValueError, match=words):
        albu.Albumentations(given)


def test_the_published_list_runs(coco):
    resize, albumentations = Config.load("mask_rcnn_r50_fpn_albu_1x")["data"]["train"]["transforms"]
    albumentations["transforms"] = [{**step, "p": 1.0} for step in albumentations["transforms"]]
    coco["transforms"] = [*coco["transforms"], albumentations]
    for inputs, targets in kdet.data.load(coco, training=True).dataset().take(4):
        size = np.tile(inputs["valid_size"].numpy()[:, None, ::-1], 2)
        assert (targets["boxes"].numpy() <= size).all() and inputs["images"].dtype == tf.uint8
