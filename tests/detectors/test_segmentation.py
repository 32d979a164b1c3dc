"""Detectors of masks and panoptic segments, small: from images of any sizes to results, and their losses."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.config import Config
from kdet.contract import Detections, forms
from verification.small import small_variant
from verification.weights import generate

SIZES = [(70, 90), (96, 60)]


def small(name, divide=8, **changes):
    """A small variant whose thresholds untrained scores pass."""
    config = small_variant(Config.load(name), divide=divide)
    config.override(changes)
    model = config.build("model")
    state = {name: generate(name, slot.shape) for name, slot in convert.torch_items(model).items()}
    convert.load_state_dict(model, state, strict=False)
    return model


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def targets():
    masks = np.zeros((2, 2, 64, 96), np.uint8)
    masks[0, 0, 10:50, 20:70] = masks[0, 1, 4:20, 60:90] = 1
    semantic = np.full((2, 64, 96), 255, np.int32)
    semantic[:, :20], semantic[:, 20:40] = 4, 1
    return {
        "boxes": tf.constant([[[20.0, 10, 70, 50], [60, 4, 90, 20]], [[0, 0, 0, 0]] * 2]),
        "labels": tf.constant([[0, 2], [-1, -1]]),
        "masks": tf.constant(np.packbits(masks, axis=-1)),
        "semantic": tf.constant(semantic),
    }


@pytest.fixture(scope="module")
def mask2former():
    model = small(
        "mask2former_r50_lsj_8x2_50e_coco-panoptic",
        **{
            "model.panoptic_head.num_stuff": 2,
            "model.panoptic_head.criterion.num_points": 64,
            "model.panoptic_head.postprocess.object_threshold": 0.0,
            "model.panoptic_head.postprocess.overlap_threshold": 0.0,
            "model.preprocessor.size": [96, 96],
        },
    )
    bias = model.panoptic_head.cls_embed.bias
    bias.assign(tf.constant([0.0] * 5 + [-9.0]))  # no query is none
    return model


def check_segments(result, size, labels):
    """The map and the list of an image's segments say the same."""
    assert result.panoptic.shape == size
    assert [s["id"] for s in result.segments] == list(range(1, len(result.segments) + 1))
    for segment in result.segments:
        assert (result.panoptic == segment["id"]).sum() == segment["area"] > 0
        assert 0 <= segment["label"] < labels and 0.0 < segment["score"] <= 1.0
        assert segment["name"] == f"class {segment['label']}"
    assert result.panoptic.max() <= len(result.segments)


def test_mask2former_predicts_instances_and_segments(mask2former, images):
    results = mask2former.predict(images)
    assert set(results) <= set(forms(Detections))
    assert mask2former.num_classes == 5 and mask2former.num_stuff == 2
    for result, size, image in zip(results.images(), SIZES, images, strict=True):
        check_segments(result, size, 5)
        assert len(result.segments) and result.masks.shape == (len(result), *size)
        assert (result.labels < 3).all() and (np.diff(result.scores) <= 0).all()
        for box, mask in zip(result.boxes.astype(int), result.masks, strict=True):
            x1, y1, x2, y2 = box
            assert mask[y1:y2, x1:x2].sum() == mask.sum()
        drawn = result.plot()
        assert drawn.shape == image.shape and (drawn != image).any()
    streamed = list(mask2former.predict_iter(images))
    np.testing.assert_array_equal(streamed[1].panoptic, results[1].panoptic)
    assert streamed[1].segments == results[1].segments


def test_mask2former_learns(mask2former, targets):
    inputs = {"images": tf.zeros([2, 64, 96, 3])}
    with tf.GradientTape() as tape:
        losses = mask2former.compute_losses(inputs, targets)
        total = tf.add_n(list(losses.values()))
    layers = len(mask2former.panoptic_head.transformer_decoder.layers)
    assert len(losses) == 3 * (layers + 1) and {"loss_cls", "d0.loss_mask", "d1.loss_dice"} <= set(losses)
    variables = mask2former.panoptic_head.trainable_variables
    gradients = tape.gradient(total, variables)
    missing = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
    assert not missing and all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_instances_alone_have_no_map(images):
    model = small(
        "mask2former_r50_lsj_8x2_50e",
        **{"model.panoptic_head.num_queries": 8, "model.preprocessor.size": [64, 64]},
    )
    (result,) = model.predict(images[:1]).images()
    assert result.panoptic is None and result.segments == [] and result.masks.shape[1:] == SIZES[0]


def test_solo_predicts_masks_with_boxes(images):
    model = small(
        "solov2_light_r18_fpn_3x",
        divide=4,  # group norm has 32 groups
        **{
            "model.mask_head.postprocess.score_threshold": 0.001,
            "model.mask_head.postprocess.filter_threshold": 0.0,
            "model.mask_head.num_grids": [6, 5, 4, 3, 2],
            "model.preprocessor.size": [96, 96],
        },
    )
    found = 0
    for result, size in zip(model.predict(images).images(), SIZES, strict=True):
        assert result.masks.shape == (len(result), *size)
        for (x1, y1, x2, y2), mask in zip(result.boxes.astype(int), result.masks, strict=True):
            assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0
            found += 1
    assert found > 0


def test_models_of_masks_say_when_there_are_none(mask2former, targets):
    with pytest.raises(KeyError, match="data.train.masks: true"):
        mask2former.compute_losses(
            {"images": tf.zeros([2, 64, 96, 3])}, {k: targets[k] for k in ("boxes", "labels")}
        )
