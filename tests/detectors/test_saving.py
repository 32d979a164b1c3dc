"""Files of compiled detectors."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from kdet.config import Config
from kdet.train.optimizers import SGD
from verification.small import small_variant


def test_a_compiled_detector_loads_compiled_and_goes_on_training(tmp_path):
    model = small_variant(Config.load("retinanet_r18_fpn_1x"), divide=8).build("model")
    model.compile(SGD(learning_rate=0.01, parameters={"norm_decay_mult": 0.0}, weight_decay=0.1))
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)), tf.uint8)
    targets = {"boxes": tf.constant([[[8.0, 8, 40, 40]]] * 2), "labels": tf.constant([[0]] * 2)}
    model.train_on_batch(images, targets)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = keras.models.load_model(tmp_path / "model.keras")
    assert again.compiled and int(again.optimizer.iterations) == 1
    for one in (model, again):
        one.train_on_batch(images, targets)
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6, err_msg=ours.path)
