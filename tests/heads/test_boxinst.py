"""BoxInst: boxes as masks, colors that look alike, which positives are learned."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config
from kdet.contract import Assignment
from kdet.heads.mask.boxinst import box_masks
from kdet.heads.mask.color_similarity import neighbors, rgb_to_lab, similar_neighbors
from verification.small import small_variant


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return small_variant(Config.load("boxinst_r50_fpn_ms-90k")).build("model")


def test_boxes_as_masks_hold_their_last_pixel():
    found = box_masks(tf.constant([[[1.6, 2.0, 9.2, 4.5], [0.0, 0, 0, 0]]]), tf.constant(8), tf.constant(12))
    mask = np.unpackbits(found.numpy(), axis=-1)[0, 0, :, :12]
    wanted = np.zeros((8, 12), np.uint8)
    wanted[2:5, 1:10] = 1
    np.testing.assert_array_equal(mask, wanted)


def test_colors_in_lab():
    found = rgb_to_lab(tf.constant([[255.0, 255, 255], [255, 0, 0], [0, 0, 0], [5, 5, 5]]))
    wanted = [[100, -0.00245, 0.00465], [53.24059, 80.09231, 67.20275], [0, 0, 0], [1.37087, -9e-5, 1.6e-4]]
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # 500 times float32's rounding


def test_neighbors_of_a_cell():
    x = tf.reshape(tf.range(1.0, 10.0), [3, 3])
    found = [int(one[1, 1]) for one in neighbors(x, 1)]
    assert found == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [int(one[0, 0]) for one in neighbors(x, 2)] == [0, 0, 0, 0, 3, 0, 7, 9]


def test_cells_of_one_color_look_alike():
    images = np.full((1, 32, 48, 3), 100, np.float32)
    images[:, :, 24:] = [250, 20, 20]
    found = similar_neighbors(tf.constant(images), tf.constant([[32.0, 40.0]]), 4, 2, 0.3, 10).numpy()[0]
    assert found.shape == (8, 8, 12)
    right, below = found[4], found[6]
    assert right[2, 1] == 1 and right[2, 4] == 0 and right[2, 5] == 0  # two cells on the color changes
    assert right[2, 7] == 1 and not right[:, 8:].any()  # behind the tenth column is padding
    assert below[2, 1] == 1 and not below[4:].any()  # the lowest ten lines do not count


def test_objects_share_the_masks_that_are_learned(model):
    index = tf.constant([[0] * 6 + [1] * 6 + [-1] * 4])
    confidence = tf.constant(np.random.default_rng(0).permutation(16)[None] / 16.0, tf.float32)
    head = model.mask_head
    head.share, before = 5, head.share
    rows, real = head.learned(Assignment(index, tf.ones([1, 16])), confidence, tf.constant([0, 0]))
    head.share = before
    chosen = rows.numpy()[0][real.numpy()[0]]
    for one in (range(6), range(6, 12)):  # two of each
        best = sorted(one, key=lambda i: -float(confidence[0, i]))[:2]
        assert sorted(set(chosen) & set(one)) == sorted(best)


def test_masks_are_learned_from_boxes(model):
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    targets = {
        "boxes": np.float32([[[4, 4, 40, 40]], [[30, 20, 90, 60]]]),
        "labels": np.int32([[0], [2]]),
    }
    with tf.GradientTape() as tape:
        losses = model.compute_losses(images, targets)
    assert 0 < float(losses["loss_mask_project"]) < 2 and float(losses["loss_mask_pairwise"]) == 0
    gradient = tape.gradient(losses["loss_mask_project"], model.bbox_head.controller.kernel)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
