"""Images that are made smaller as torchvision does it, in ``predict``, exports and training."""

import numpy as np
import tensorflow as tf

from kdet.data import resize
from kdet.data.inference import preprocess_images
from kdet.detectors import Preprocessor
from kdet.export.canvas import Canvas


def test_every_pixel_of_a_smaller_image_counts():
    image = np.zeros([8, 64, 3], np.uint8)
    image[:, ::8] = 240  # seven of eight columns are black
    rule = Preprocessor(size=(8, 8), keep_ratio=False, antialias=True)
    found = preprocess_images([image], rule.resize_rule())
    assert found["scale"].numpy().tolist() == [[1.0, 0.125]]
    # the window of a pixel is two cells wide and falls off to both sides
    assert np.all(np.abs(found["images"].numpy()[0, :, 1:-1].astype(int) - 30) <= 1)
    coarse = preprocess_images([image], Preprocessor(size=(8, 8), keep_ratio=False).resize_rule())
    assert coarse["images"].numpy().max() == 0


def test_exports_resize_as_predict_does():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    rule = Preprocessor(size=(32, 32), keep_ratio=False, antialias=True)
    canvas = Canvas(rule).inputs(lambda _: tf.constant(image), tf.constant(1))
    wanted = preprocess_images([image], rule.resize_rule())
    np.testing.assert_array_equal(canvas["images"], wanted["images"])


def test_floats_stay_floats():
    image = tf.random.stateless_uniform([6, 6, 3], [0, 1])
    found = resize.resize_bilinear(image, tf.constant([3, 3]), antialias=True)
    assert found.dtype == tf.float32 and found.shape == (3, 3, 3)
    bright = resize.resize_bilinear(image * 255.0, tf.constant([3, 3]), antialias=True)
    np.testing.assert_allclose(found * 255.0, bright, rtol=1e-6)
    assert np.ptp(found.numpy()) > 0.1
