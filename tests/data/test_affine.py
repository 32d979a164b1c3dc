"""YOLOX's affine map and colors, on images that are known by hand."""

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from kdet.data import masks
from kdet.data.affine import RandomAffine, sampled, sources
from kdet.data.extent import Extent
from kdet.data.hsv import HSVJitter, shifted
from kdet.data.mixing import Piece


def piece(size, boxes, ignored=()):
    """A black image with white rectangles, each of its own mask."""
    image, shapes = np.zeros((*size, 3), np.uint8), []
    for x1, y1, x2, y2 in boxes:
        pixels = np.zeros(size, np.uint8)
        pixels[y1:y2, x1:x2] = 1
        image[pixels > 0] = 255
        shapes.append(masks.encode_pixels(pixels))
    return Piece(
        image,
        np.float32(boxes).reshape(-1, 4),
        np.arange(len(boxes), dtype=np.int32),
        np.float32(ignored).reshape(-1, 4),
        shapes,
    )


def test_a_shift_moves_pixels_boxes_masks_and_ignore_regions():
    own = piece((20, 30), [(2, 3, 8, 9), (25, 15, 30, 20)], [(0, 0, 4, 4)])
    found = RandomAffine(size=(24, 16), fill=114).mapped(own, np.array([[1, 0, 5], [0, 1, -2], [0, 0, 1.0]]))
    assert found.image.shape == (16, 24, 3)
    np.testing.assert_array_equal(found.boxes, [[7, 1, 13, 7]])  # the other one is out of sight
    np.testing.assert_array_equal(found.ignore_boxes, [[5, 0, 9, 2]])
    np.testing.assert_array_equal(found.labels, [0])
    white = np.zeros((16, 24), bool)
    white[1:7, 7:13] = True
    np.testing.assert_array_equal(found.image[..., 0] == 255, white)
    np.testing.assert_array_equal(coco_mask.decode(found.masks[0]) > 0, white)
    assert (found.image[:, :5] == 114).all() and (found.image[:, 5:7] == 0).all()


def test_boxes_hold_their_turned_corners_and_small_ones_go():
    own = piece((20, 20), [(4, 4, 12, 8), (0, 0, 2, 20)])
    quarter = np.array([[0, -1, 20], [1, 0, 0], [0, 0, 1.0]])
    found = RandomAffine(size=(20, 20), least_side=2.0).mapped(own, quarter)
    np.testing.assert_allclose(found.boxes, [[12, 4, 16, 12]], atol=1e-5)


def test_pixels_between_are_mixed():
    image = np.float32([[[0], [100]], [[200], [300]]]).repeat(3, -1)
    half = np.eye(3)
    half[:2, 2] = -0.5
    found = sampled(image, sources(half, (2, 2)), 500.0)[..., 0]
    np.testing.assert_allclose(found, [[150, 350], [375, 450]])


@pytest.mark.parametrize("seed", range(4))
def test_draws_stay_within_their_limits(seed):
    transform = RandomAffine(size=(40, 20), scale=(0.5, 2.0), rotation=0, shear=0, shift=0.1)
    matrix = transform.draw(np.random.default_rng(seed))
    assert matrix[0, 0] == pytest.approx(matrix[1, 1]) and 0.5 <= matrix[0, 0] <= 2.0
    assert abs(matrix[0, 2]) <= 4 and abs(matrix[1, 2]) <= 2 and matrix[0, 1] == 0
    turned = RandomAffine(rotation=30, scale=(1, 1), shear=0, shift=0).draw(np.random.default_rng(seed))
    assert abs(np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))) <= 30
    assert np.linalg.det(turned) == pytest.approx(1.0)


def test_the_sizes_after_it_are_not_known_because_it_may_be_left_out():
    assert RandomAffine.mixes and RandomAffine().extent(Extent()).kind == "unknown"


def test_colors_shift_in_hue_saturation_and_value():
    image = tf.constant([[[200, 100, 100], [80, 80, 80], [0, 0, 255]]], tf.uint8)
    turned = shifted(image, tf.constant([60.0, 0.0, 0.0])).numpy()[0]  # by 120 degrees: red to green
    np.testing.assert_array_equal(turned, [[100, 200, 100], [80, 80, 80], [255, 0, 0]])
    brighter = shifted(image, tf.constant([0.0, 0.0, 20.0])).numpy()[0]
    np.testing.assert_array_equal(brighter, [[220, 110, 110], [100, 100, 100], [0, 0, 255]])
    paler = shifted(image, tf.constant([0.0, -255.0, 0.0])).numpy()[0]
    np.testing.assert_array_equal(paler, [[200] * 3, [80] * 3, [255] * 3])


def test_the_draw_follows_the_seed():
    sample = {"image": tf.fill([2, 2, 3], tf.constant(90, tf.uint8)), "labels": tf.constant([1])}
    found = [HSVJitter()(sample, tf.constant([0, i]))["image"].numpy() for i in range(8)]
    again = HSVJitter()(sample, tf.constant([0, 3]))["image"].numpy()
    assert len({one.tobytes() for one in found}) > 2 and (again == found[3]).all()
    assert all(abs(int(one.max()) - 90) <= 30 and one.dtype == np.uint8 for one in found)
