"""CondInst: its enlarging, its positives, its masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import PointInBoxAssigner
from kdet.config import Config, ConfigError
from kdet.contract import Assignment
from kdet.layers import enlarge_aligned
from kdet.priors import PointGenerator
from verification.small import small_variant


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return small_variant(Config.load("condinst_r50_fpn_ms-poly-90k")).build("model")


def targets():
    boxes = np.float32([[[4, 4, 40, 40]], [[30, 20, 90, 60]]])
    masks = np.zeros((2, 1, 64, 96), np.uint8)
    masks[0, 0, 4:40, 4:40], masks[1, 0, 20:60, 30:90] = 1, 1
    return {"boxes": boxes, "labels": np.int32([[0], [2]]), "masks": np.packbits(masks, axis=-1)}


def images():
    return np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)


def test_enlarged_pixels_lie_at_multiples_of_the_factor():
    x = tf.constant([[0.0, 4.0], [8.0, 12.0]])[None, :, :, None]
    found = enlarge_aligned(x, 2)[0, :, :, 0].numpy()
    np.testing.assert_allclose(found[0], [0, 0, 2, 4])
    np.testing.assert_allclose(found[:, 0], [0, 0, 4, 8])
    assert found[1, 1] == 0 and found[3, 3] == 12
    assert enlarge_aligned(x, 1) is x and enlarge_aligned(x, 4).shape == (1, 8, 8, 1)


def test_points_around_the_center_of_mass():
    points = PointGenerator([8])([(4, 4)])[0]
    mask = np.zeros((1, 1, 32, 32), np.uint8)
    mask[..., 24:, 24:] = 1
    given = {
        "boxes": tf.constant([[[0.0, 0, 32, 32]]]),
        "labels": tf.constant([[0]]),
        "masks": tf.constant(np.packbits(mask, axis=-1)),
    }
    arguments = {"strides": [8], "regress_ranges": [(-1, 1e8)], "center_radius": 0.6}
    around_box = PointInBoxAssigner(**arguments)(points, given).gt_index.numpy()[0]
    around_mask = PointInBoxAssigner(**arguments, mask_centers=True)(points, given).gt_index.numpy()[0]
    assert np.flatnonzero(around_box == 0).tolist() == [5, 6, 9, 10]
    assert np.flatnonzero(around_mask == 0).tolist() == [15]


def test_so_many_positives_of_an_image_are_learned(model):
    head = model.mask_head
    index = tf.constant([[0] * 30 + [-1] * 10, [-1] * 39 + [1]])
    assignment = Assignment(index, tf.ones([2, 40]))
    before, head.max_masks = head.max_masks, 12
    rows, real = head.learned(assignment, tf.zeros([2, 40]), tf.constant([1, 2]))
    head.max_masks = before
    assert rows.shape == (2, 12) and real.numpy().sum(1).tolist() == [12, 1]
    assert len(set(rows.numpy()[0])) == 12 and rows.numpy()[0].max() < 30 and rows.numpy()[1, 0] == 39
    everything, all_real = head.learned(assignment, tf.zeros([2, 40]), tf.constant([1, 2]))
    assert all_real.numpy().sum(1).tolist() == [30, 1] and everything.shape == (2, 30)


def test_masks_come_in_the_size_of_the_image_and_are_learned(model):
    head = model.bbox_head
    before, head.postprocess.score_threshold = head.postprocess.score_threshold, 0.0
    sizes = {"valid_size": [[64, 96]], "original_size": [[128, 192]], "scale": [[0.5, 0.5]]}
    found = model({"images": images()[:1], **{k: np.float32(v) for k, v in sizes.items()}})
    head.postprocess.score_threshold = before
    assert found["masks"].shape == (1, 100, 128, 192) and found["masks"].dtype == tf.uint8
    with tf.GradientTape() as tape:
        losses = model.compute_losses(images(), targets())
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_centerness", "loss_mask"}
    assert 0 < float(losses["loss_mask"]) < 1
    gradient = tape.gradient(losses["loss_mask"], head.controller.kernel)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_a_controller_of_another_size_is_refused():
    config = small_variant(Config.load("condinst_r50_fpn_ms-poly-90k"))
    config["model"]["bbox_head"]["num_params"] = 170
    with pytest.raises((ValueError, ConfigError), match="num_params is 170"):
        config.build("model")
