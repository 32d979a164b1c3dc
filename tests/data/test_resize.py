"""Pixels and sizes of resizing against values of OpenCV 4 (recorded) and the rule by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.data import resize


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((480, 640), (1333, 800), (800, 1067)),
        ((640, 480), (1333, 800), (1067, 800)),
        ((427, 640), (1333, 800), (800, 1199)),
        ((300, 1000), (800, 1333), (400, 1333)),
        ((600, 800), (1333, 800), (800, 1067)),
        ((10, 3000), (1333, 800), (4, 1333)),
    ],
)
def test_keep_ratio_size(size, limit, expected):
    assert tuple(resize.keep_ratio_size(size, limit).numpy()) == expected


def test_nearest_index_is_opencvs():
    np.testing.assert_array_equal(resize.nearest_index(3, 7), [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(resize.nearest_index(7, 3), [0, 2, 4])
    np.testing.assert_array_equal(resize.nearest_index(5, 5), range(5))


@pytest.fixture(params=["default", "portable"])
def bilinear(request):
    return {"default": resize.resize_bilinear, "portable": resize.portable_bilinear}[request.param]


def test_bilinear_by_hand(bilinear):
    image = tf.repeat(tf.constant([[[0], [255]]], tf.uint8), 3, axis=-1)  # [1, 2, 3]
    # Positions -0.25, 0.25, 0.75, 1.25: weights 0, 1/4, 3/4, 1.
    got = bilinear(image, tf.constant([1, 4]))
    np.testing.assert_array_equal(got[0, :, 1], [0, 64, 191, 255])


@pytest.mark.parametrize("size", [(21, 44), (7, 9), (30, 40), (11, 64)])
def test_portable_form_is_opencvs(size):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    got = resize.portable_bilinear(tf.constant(image), tf.constant(size)).numpy()
    np.testing.assert_array_equal(got, expected)


def test_bilinear_keeps_size_dtype_and_constants(bilinear):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(bilinear(tf.constant(image), tf.constant([9, 7])), image)
    flat = tf.fill([5, 6, 3], tf.constant(255, tf.uint8))
    assert (bilinear(flat, tf.constant([13, 11])).numpy() == 255).all()
    assert bilinear(tf.zeros([4, 4, 3]), tf.constant([8, 8])).dtype == tf.float32
