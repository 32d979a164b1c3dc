"""Test-time augmentation against the reference's, and what it is made of."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import convert, coordinates, zoo
from kdet.detectors import Detector, Preprocessor, base
from kdet.detectors.predict import Augmentation
from kdet.heads.query.base import QueryHead
from verification import inputs, weights
from verification.matching import match_detections

GOLDENS = pathlib.Path(__file__).parent.parent / "golden" / "tta"
SMALL = {"model.rpn_head.test_proposals.max_per_image": 40, "model.roi_head.postprocess.max_per_image": 10}
DENSE = {"model.bbox_head.postprocess.max_per_image": 20}
R18 = {"model.backbone.depth": 18}
CASES = {
    "retinanet": ("retinanet_r18_fpn_1x", DENSE),
    "rpn": ("rpn_r50_fpn_1x", {**R18, "model.rpn_head.test_proposals.max_per_image": 30}),
    "mask_rcnn": ("mask_rcnn_r50_fpn_1x", {**R18, **SMALL}),
    "cascade": ("cascade_mask_rcnn_r50_fpn_1x", {**R18, **SMALL}),
    "scnet": ("scnet_r50_fpn_1x", {**R18, **SMALL}),
    "cornernet": (
        "cornernet_hourglass104_mstest_8x6_210e",
        {"model.backbone.channels": [32, 32, 48, 48, 48, 64], **DENSE},
    ),
    "htc": ("htc_r50_fpn_1x", {**R18, **SMALL}),
    "ms_rcnn": ("ms_rcnn_r50_caffe_fpn_1x", {**R18, **SMALL}),
    "point_rend": ("point_rend_r50_caffe_fpn_mstrain_1x", {**R18, **SMALL}),
    "fcos": ("fcos_r50_caffe_fpn_gn-head_1x", {**R18, **DENSE}),
    "reppoints": ("reppoints_moment_r50_fpn_1x", {**R18, **DENSE}),
    "trident": ("tridentnet_r50_caffe_1x", SMALL),
}
# Whose shared parts others here, or those of their family, are traced with: these predict eagerly.
EAGER = ("rpn", "cascade", "htc", "fcos", "reppoints")


class Untraced:
    """In the place of ``kdet.detectors.traces.Traces``."""

    def __init__(self, function):
        self.function = function

    def __call__(self, inputs, flip, canvas):
        return self.function(tf.nest.map_structure(tf.convert_to_tensor, inputs), flip)


def image(height, width):
    """As ``tests/golden/tta/record.py`` makes it."""
    smooth = inputs.make_images(1, height, width, seed=5)[0].transpose(1, 2, 0)
    return np.clip(smooth * 50 + 120, 0, 255).astype(np.uint8)


def generated(model, adjust):
    return {
        name: weights.generate(name, array.shape, 0, *adjust.get(name, (1.0, 0.0)))
        for name, array in convert.state_dict(model).items()
    }


@pytest.mark.parametrize("case", CASES)
def test_merged_detections_equal_the_reference(case, monkeypatch):
    if case in EAGER:
        monkeypatch.setattr(base, "Traces", Untraced)
    with np.load(GOLDENS / f"{case}.npz") as file:
        golden = dict(file)
    meta = json.loads(str(golden.pop("meta")))
    name, overrides = CASES[case]
    classes = {} if case == "rpn" else {"num_classes": 3}
    model = zoo.load(name, weights=None, **classes, **overrides)
    convert.load_state_dict(model, generated(model, meta["adjust"]))
    found = model.predict(image(*meta["size"]), augment=meta["augment"])
    count = int(found["num_detections"][0])
    assert count == len(golden["labels"])
    boxes = np.concatenate([golden["boxes"], golden["scores"][:, None]], 1)
    ours = {key: found[key][0][:count] for key in ("boxes", "scores", "labels")}
    order = match_detections(boxes, golden["labels"], ours, min_iou=0.999, max_score=1e-4)
    assert (order >= 0).all()
    if "masks" in golden:
        wanted = np.unpackbits(golden["masks"], axis=-1, count=meta["size"][1]).astype(bool)
        masks = found["masks"][0][order]
        shared, union = (masks & wanted).sum((1, 2)), (masks | wanted).sum((1, 2))
        assert (shared >= 0.99 * union).all()


def test_a_batch_of_several_sizes_is_two_batches_of_one():
    model = zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3)
    images = [image(60, 90), image(64, 88)]
    augment = {"scales": [[96, 64], [72, 48]], "flip": True}
    together = model.predict(images, batch_size=2, augment=augment)
    for i, one in enumerate(images):
        alone = model.predict(one, augment=augment)
        np.testing.assert_allclose(alone["scores"][0], together["scores"][i], atol=1e-5)


def test_boxes_find_back_to_the_image():
    info = {
        "valid_size": tf.constant([[20.0, 40.0]] * 2),
        "scale": tf.constant([[2.0, 4.0]] * 2),
        "flipped": tf.constant([False, True]),
    }
    boxes = tf.constant([[[4.0, 2, 12, 6]]] * 2)
    original = coordinates.original_boxes(boxes, info)
    np.testing.assert_allclose(original, [[[1, 1, 3, 3]], [[7, 1, 9, 3]]])  # (40 - 12) / 4, (40 - 4) / 4
    np.testing.assert_allclose(coordinates.network_boxes(original, info), boxes)
    masks = tf.constant([[[[1.0, 0.0, 0.0]]]] * 2)
    np.testing.assert_allclose(coordinates.upright_masks(masks, info)[:, 0, 0], [[1, 0, 0], [0, 0, 1]])


def test_images_are_mirrored_within_their_own_width():
    images = tf.reshape(tf.range(4.0), [1, 1, 4, 1]) + tf.zeros([2, 1, 4, 3])
    info = {"valid_size": tf.constant([[1.0, 4.0], [1.0, 3.0]])}
    mirrored, info = Preprocessor().mirrored(images, info)
    np.testing.assert_array_equal(mirrored[:, 0, :, 0], [[3, 2, 1, 0], [2, 1, 0, 3]])
    assert info["flipped"].numpy().all()


def test_images_are_placed_in_the_middle():
    rule = Preprocessor(center_pad=7)
    images = tf.reshape(tf.range(1.0, 36.0), [1, 7, 5, 1]) + tf.zeros([2, 7, 5, 3])
    info = {"valid_size": tf.constant([[7.0, 5.0], [4.0, 5.0]])}
    placed, info = rule.placed(images, info)
    assert placed.shape == (2, 7, 7, 3)
    # 7 // 2 - 5 // 2 = 1 column before; a side of 7 loses its last row
    np.testing.assert_array_equal(info["border"], [[0, 6, 1, 6], [1, 5, 1, 6]])
    np.testing.assert_array_equal(info["padded_size"], [[7, 7], [7, 7]])
    wanted = np.zeros((2, 7, 7))
    wanted[0, :6, 1:6], wanted[1, 1:5, 1:6] = images[0, :6, :, 0], images[0, :4, :, 0]
    np.testing.assert_array_equal(placed[..., 0], wanted)


def test_a_canvas_in_the_middle_is_mirrored_as_a_whole():
    rule = Preprocessor(center_pad=7)
    images, info = rule.placed(tf.ones([1, 4, 6, 3]), {"valid_size": tf.constant([[4.0, 6.0]])})
    mirrored, _ = rule.mirrored(images, info)
    np.testing.assert_array_equal(images[0, 1, :, 0], [1, 1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(mirrored[0, 1, :, 0], [0, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"scale": [1]}, "no key 'scale'; did you mean scales"),
        ({"flip": 3}, "augment.flip must be true or false; got 3"),
        ({"scales": 2}, "augment.scales must be a list"),
        ("mirrored", "must be true, false or a mapping"),
    ],
)
def test_bad_augmentations_are_explained(spec, words):
    with pytest.raises(ValueError, match=words):
        Augmentation.of(spec)


def test_detectors_without_augmentation_say_so():
    head = QueryHead(num_classes=1, transformer=None, position=None, criterion=None)
    with pytest.raises(NotImplementedError, match="^QueryHead has no test-time augmentation"):
        head.decode_views([])
    with pytest.raises(NotImplementedError, match="^Detector has no test-time augmentation"):
        Detector(keras.layers.Identity()).predict(image(60, 90), augment=True)
