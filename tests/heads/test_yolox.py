"""YOLOX's head: boxes there and back, the candidates, and the loss that comes later."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config
from kdet.heads.dense.yolox import encode
from kdet.train import LateLosses
from verification.small import small_variant


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return small_variant(Config.load("yolox_tiny_8x8_300e")).build("model")


def batch():
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    targets = {
        "boxes": np.float32([[[4, 4, 40, 40], [30, 20, 60, 60]], [[8, 16, 50, 60], [0, 0, 0, 0]]]),
        "labels": np.int32([[0, 2], [1, -1]]),
    }
    return images, targets


def test_boxes_there_and_back(model):
    priors = tf.constant([[8.0, 16.0, 8.0], [32.0, 0.0, 16.0]])
    boxes = tf.constant([[[4.0, 6.0, 30.0, 26.0], [20.0, 10.0, 60.0, 50.0]]])
    found = model.bbox_head.decode_boxes(priors, encode(priors, boxes))
    np.testing.assert_allclose(found, boxes, rtol=1e-5)
    # the center is measured from the corner of the cell
    np.testing.assert_allclose(encode(priors, boxes)[0, 0, :2], [(17 - 8) / 8, 0.0])


def test_scores_at_the_threshold_are_candidates(model):
    shape = [1, 2, 2]
    scores = tf.reshape(tf.constant([[0.0, -9, -9], [-9, 0, -9], [-9, -9, 0], [-9, -9, -9]]), [*shape, 3])
    objectness = tf.reshape(tf.constant([[20.0], [0.0], [-9.0], [20.0]]), [*shape, 1])
    empty = [(tf.zeros([1, 0, 0, width]),) * 2 for width in (3, 4, 1)]
    outputs = [(x, *rest) for x, rest in zip((scores, tf.zeros([*shape, 4]), objectness), empty)]
    head = model.bbox_head
    before, head.postprocess.score_threshold = head.postprocess.score_threshold, 0.25
    info = {"scale": tf.ones([1, 2]), "valid_size": tf.constant([[16.0, 16.0]])}
    found = head.candidates(outputs, info)
    head.postprocess.score_threshold = before
    np.testing.assert_allclose(found.scores[0], [0.5, 0.25, -1.0, -1.0])
    assert found.labels[0].numpy()[:2].tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes[0, 1], [4.0, -4.0, 12.0, 4.0])


def test_the_late_losses_come_with_the_epoch(model):
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    images, targets = batch()
    data = tf.data.Dataset.from_tensors((images, targets)).repeat()
    history = model.fit(data, epochs=2, steps_per_epoch=1, callbacks=[LateLosses(1)], verbose=0).history
    assert {"loss_cls", "loss_bbox", "loss_obj", "loss_l1"} <= set(history)
    assert len(history["loss_cls"]) == 2 and len(history["loss_l1"]) == 1 and history["loss_l1"][0] > 0
    model.use_late_losses(False)
    assert "loss_l1" not in model.compute_losses(images, targets)


def test_nothing_but_objectness_is_learned_from_an_image_without_objects(model):
    images, targets = batch()
    targets = {"boxes": np.zeros((2, 1, 4), np.float32), "labels": np.full((2, 1), -1)}
    losses = {name: float(value) for name, value in model.compute_losses(images, targets).items()}
    assert losses["loss_cls"] == losses["loss_bbox"] == 0 and losses["loss_obj"] > 0


def test_padding_has_the_gray_of_the_mosaic(model):
    images, info = model.preprocess(
        {"images": tf.zeros([1, 8, 8, 3]), "valid_size": tf.constant([[4.0, 6.0]])}
    )
    assert (images[0, :4, :6] == 0).numpy().all() and (images[0, 4:] == 114).numpy().all()
    assert (images[0, :, 6:] == 114).numpy().all()
