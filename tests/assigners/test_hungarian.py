"""One-to-one matching and the losses that follow from it."""

import numpy as np
import tensorflow as tf

from kdet.assigners import HungarianAssigner
from kdet.heads.query import SetCriterion
from kdet.losses import CrossEntropyLoss, GIoULoss, L1Loss

SIZE = tf.constant([[[100.0, 100.0, 100.0, 100.0]]])
BOXES = tf.constant([[[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]]])
TARGETS = {
    "boxes": tf.constant([[[60.0, 60, 80, 80], [10, 10, 30, 30], [0, 0, 0, 0]]]),
    "labels": tf.constant([[0, 1, -1]]),
}


def test_every_object_gets_its_prediction_and_padding_none():
    (assignment,) = HungarianAssigner()(tf.zeros([1, 1, 3, 3]), BOXES, TARGETS, SIZE)
    np.testing.assert_array_equal(assignment.gt_index, [[1, 0, -1]])


def test_the_class_decides_between_equal_boxes():
    boxes = tf.repeat(BOXES[:, :, 1:2], 2, 2)
    targets = {"boxes": TARGETS["boxes"][:, :1], "labels": tf.constant([[1]])}
    for focal in (False, True):
        logits = tf.constant([[[[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]])
        (assignment,) = HungarianAssigner(focal=focal)(logits, boxes, targets, SIZE)
        np.testing.assert_array_equal(assignment.gt_index, [[-1, 0]])


def test_predictions_that_are_no_numbers_match_nothing():
    (assignment,) = HungarianAssigner()(tf.fill([1, 1, 3, 3], np.nan), BOXES, TARGETS, SIZE)
    assert assignment.gt_index.numpy().tolist() == [[-1, -1, -1]]


def criterion():
    return SetCriterion(
        HungarianAssigner(), CrossEntropyLoss(), L1Loss(loss_weight=5.0), GIoULoss(), background_weight=0.5
    )


def test_losses_of_a_perfect_set():
    (losses,) = criterion()(tf.zeros([1, 1, 3, 3]), BOXES, TARGETS, {"valid_size": tf.fill([1, 2], 100.0)})
    np.testing.assert_allclose(losses["loss_cls"], np.log(3.0), rtol=1e-5)  # a mean, whatever the weights
    np.testing.assert_allclose([losses["loss_bbox"], losses["loss_iou"]], 0.0, atol=1e-5)


def test_losses_without_objects_are_finite():
    targets = {**TARGETS, "labels": tf.fill([1, 3], -1)}
    (losses,) = criterion()(tf.zeros([1, 1, 3, 3]), BOXES, targets, {"valid_size": tf.fill([1, 2], 100.0)})
    assert np.isfinite([float(v) for v in losses.values()]).all()
    assert float(losses["loss_bbox"]) == 0.0
