"""RTMDet: shared convolutions, decoding, what it learns, and how its images are made."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.config import Config
from verification.small import small_variant


def build(name="rtmdet_tiny_300e"):
    keras.utils.set_random_seed(3)
    return small_variant(Config.load(name)).build("model")


@pytest.fixture(scope="module")
def model():
    return build()


def batch():
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    targets = {
        "boxes": np.float32([[[4, 4, 40, 40], [30, 20, 90, 60]], [[8, 16, 50, 60], [0, 0, 0, 0]]]),
        "labels": np.int32([[0, 2], [1, -1]]),
    }
    return images, targets


def test_levels_share_convolutions_and_have_norms_of_their_own(model):
    first, second = model.bbox_head.cls_convs[0][1], model.bbox_head.cls_convs[2][1]
    assert first.conv is second.conv and first.bn is not second.bn
    state = convert.state_dict(model)
    names = [f"bbox_head.reg_convs.{level}.0.conv.weight" for level in range(3)]
    assert all(np.array_equal(state[names[0]], state[name]) for name in names)
    again = build()
    convert.load_state_dict(again, state)
    for name, value in convert.state_dict(again).items():
        np.testing.assert_array_equal(value, state[name])


def test_distances_in_strides(model):
    head, x = model.bbox_head, tf.constant([[0.5, -1.0, 0.0, 2.0]])
    np.testing.assert_allclose(head.distances(x, 1), [[8.0, -16.0, 0.0, 32.0]])
    head.exp_on_reg = True
    np.testing.assert_allclose(head.distances(x, 0), 8 * np.exp(x.numpy()), rtol=1e-6)
    head.exp_on_reg = False


def test_boxes_that_are_turned_inside_out_are_no_candidates(model):
    scores = tf.constant([[[[2.0, -9, -9], [2.0, -9, -9]]]])
    distances = tf.constant([[[[4.0, 4, 4, 4], [4.0, 4, -5, 4]]]])
    empty = [tf.zeros([1, 0, 0, width]) for width in (3, 4)]
    size = tf.constant([[16.0, 16.0]])
    info = {"scale": tf.ones([1, 2]), "valid_size": size / 2, "padded_size": size}
    outputs = [(x, *(rest,) * 2) for x, rest in zip((scores, distances), empty, strict=True)]
    found, rows = model.bbox_head.located_candidates(outputs, info)
    assert (found.scores.numpy()[0] > 0).tolist() == [True, False, False, False, False, False]
    np.testing.assert_allclose(found.boxes[0, 0], [0, 0, 4, 4])
    assert rows.numpy()[0, :2].tolist() == [0, 1]


def overlap(model):
    """What the IoUs of all assigned boxes add up to."""
    images, targets = batch()
    images, info = model.preprocess(images)
    targets = {key: tf.constant(value) for key, value in targets.items()}
    outputs = model.outputs(images, info, training=True)
    return float(tf.reduce_sum(model.bbox_head.assigned_losses(outputs, targets, info)[1].overlaps))


def test_boxes_come_to_overlap_their_objects(model):
    images, targets = batch()
    optimizer, before = keras.optimizers.Adam(1e-2), overlap(model)
    for _ in range(6):
        with tf.GradientTape() as tape:
            losses = model.compute_losses(images, targets)
            total = tf.add_n(list(losses.values()))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables))
    assert set(losses) == {"loss_cls", "loss_bbox"} and np.isfinite(total)
    assert overlap(model) > before


def test_without_objects_boxes_cost_nothing(model):
    images, _ = batch()
    targets = {"boxes": np.zeros((2, 1, 4), np.float32), "labels": np.full((2, 1), -1)}
    losses = model.compute_losses(images, targets)
    assert float(losses["loss_bbox"]) == 0 and float(losses["loss_cls"]) > 0


def test_the_model_of_four_levels_detects():
    model = build("rtmdet_x_p6_300e")
    assert len(model.bbox_head.rtm_cls) == 4 and model.bbox_head.exp_on_reg
    images, _ = batch()
    found = model(images[:1])
    assert found["boxes"].shape == (1, 100, 4) and np.isfinite(found["boxes"]).all()
