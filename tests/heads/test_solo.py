"""SOLO's targets and peaks, by hand; that the numbers are MMDetection's is what the goldens show."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.heads.mask import SOLOHead
from kdet.heads.mask.own_size import OwnSizes, image_masks, mask_boxes
from kdet.heads.mask.solo import choose, peaks
from kdet.losses import FocalLoss


@pytest.fixture(scope="module")
def head():
    ranges = [[1, 48], [24, 96]]
    return SOLOHead(
        2,
        loss_cls=FocalLoss(),
        num_grids=[8, 4],
        strides=[8, 8],
        scale_ranges=ranges,
        stacked_convs=1,
        filters=32,
    )


def test_cells_around_the_center_of_mass_learn_an_object(head):
    masks = np.zeros((1, 3, 64, 64), np.uint8)
    masks[0, 0, 8:40, 16:48] = 1  # 32 pixels wide: of both levels
    masks[0, 1, 0:8, 56:64] = 1  # 8 pixels: of the first
    boxes = tf.constant([[[16.0, 8, 48, 40], [56, 0, 64, 8], [0, 0, 0, 0]]])
    packed = tf.constant(np.packbits(masks, axis=-1))
    centers = ops.packed_mask_centers(packed)
    np.testing.assert_allclose(centers[0, :2], [[23.5, 31.5], [3.5, 59.5]])
    usable = tf.constant([[True, True, False]])
    canvas = tf.constant([64.0, 64.0])
    fine, coarse = (head.covered(level, boxes, centers, usable, canvas).numpy()[0] for level in (0, 1))
    # (23.5 -+ 3.2) / 8 and (31.5 -+ 3.2) / 8: rows 2 to 3, columns 3 to 4
    assert np.flatnonzero(fine[0]).tolist() == [2 * 8 + 3, 2 * 8 + 4, 3 * 8 + 3, 3 * 8 + 4]
    assert np.flatnonzero(fine[1]).tolist() == [7] and not fine[2].any()
    assert np.flatnonzero(coarse[0]).tolist() == [1 * 4 + 1, 1 * 4 + 2] and not coarse[1].any()


def test_pairs_are_chosen_for_every_image_alike():
    wanted = np.zeros((2, 5, 3), bool)
    wanted[0, [1, 4], [2, 0]] = True
    wanted[1, 3, 1] = True
    cells = choose(tf.constant(wanted), 1)
    assert cells.real.numpy().tolist() == [[True, True], [True, False]]
    assert cells.rows.numpy()[cells.real].tolist() == [1, 4, 3]
    assert cells.choice.numpy()[cells.real].tolist() == [2, 0, 1]
    other = choose(tf.constant(wanted), 2)
    assert other.rows.numpy()[other.real].tolist() == [2, 0, 1]
    assert choose(tf.constant(np.zeros((2, 5, 3), bool)), 1).rows.shape == (2, 1)


def test_peaks_look_above_and_left():
    scores = np.float32([[0.1, 0.2, 0.2], [0.3, 0.1, 0.4], [0.2, 0.5, 0.3]])
    found = peaks(tf.constant(scores[None, ..., None]))[0, ..., 0].numpy()
    np.testing.assert_array_equal(found, np.float32([[0.1, 0.2, 0.2], [0.3, 0, 0.4], [0, 0.5, 0]]))


def test_masks_come_to_the_size_of_their_image():
    masks = np.zeros((2, 1, 8, 8), np.float32)
    masks[0, 0, 2:4, 2:6] = 1.0
    masks[1, 0, :2, :2] = 1.0
    info = {
        "original_size": tf.constant([[16.0, 32.0], [20.0, 10.0]]),
        "valid_size": tf.constant([[32.0, 32.0], [32.0, 16.0]]),
    }
    found = image_masks(tf.constant(masks), info, tf.constant([32, 32]), 0.5)
    assert found.dtype == tf.uint8 and found.shape == (2, 1, 20, 32)
    assert not found[0, 0, 16:].numpy().any() and not found[1, 0, :, 10:].numpy().any()
    np.testing.assert_array_equal(mask_boxes(found)[:, 0], [[8, 4, 24, 8], [0, 0, 5, 5]])
    graph = tf.function(
        lambda m, o, v: image_masks(m, {"original_size": o, "valid_size": v}, tf.constant([32, 32]), 0.5),
        input_signature=[tf.TensorSpec([None, 1, 8, 8]), *[tf.TensorSpec([None, 2])] * 2],
        autograph=False,
    )
    np.testing.assert_array_equal(graph(masks, info["original_size"], info["valid_size"]), found)


def test_the_box_of_nothing_is_nothing():
    np.testing.assert_array_equal(mask_boxes(tf.zeros([2, 4, 5], tf.uint8)), np.zeros((2, 4)))


def test_maps_are_enlarged_cut_and_resized():
    info = {"original_size": tf.constant([[4.0, 2.0]]), "valid_size": tf.constant([[8.0, 4.0]])}
    own = OwnSizes(info, tf.constant([8, 8]))
    ramp = tf.reshape(tf.range(4.0), [1, 4, 1]) * tf.ones([4, 1, 1])
    found = own.resized(ramp, own.valid[0], own.sizes[0])
    np.testing.assert_allclose(found[..., 0], np.tile([[0.125, 1.0]], (4, 1)), atol=1e-6)
