"""TOOD's head and losses on probabilities, and what DDOD and LAD add to theirs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import losses
from kdet.config import Config
from kdet.contract import Assignment
from kdet.heads.dense.tood import resampled
from verification.small import small_variant


def small(name):
    keras.utils.set_random_seed(5)
    return small_variant(Config.load(name)).build("model")


def batch():
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    targets = {
        "boxes": np.float32([[[4, 4, 40, 40], [30, 20, 60, 60]], [[8, 16, 50, 60], [0, 0, 0, 0]]]),
        "labels": np.int32([[0, 2], [1, -1]]),
    }
    return images, targets


def test_sides_are_taken_where_their_offsets_point():
    boxes = np.float32([[[[0, 0, 2, 2], [1, 1, 3, 3]]]])  # [1, 1, 2, 4]
    offsets = np.zeros((1, 1, 2, 8), np.float32)
    offsets[0, 0, 0, 1] = 0.25  # x1 of the first: a quarter of the way to its neighbor
    offsets[0, 0, 1, 5] = -1.0  # x2 of the second: that of the first
    np.testing.assert_allclose(resampled(boxes, offsets), [[[[0.25, 0, 2, 2], [1, 1, 2, 3]]]])
    offsets[0, 0, 1, 5] = 1.0  # beyond the map there are zeros, and a box from 1 to 0 is none
    np.testing.assert_allclose(resampled(boxes, offsets)[0, 0, 1], [1, 1, 3, 3])


@pytest.mark.parametrize("kind", [losses.FocalLoss, losses.QualityFocalLoss])
def test_losses_of_probabilities_are_those_of_their_logits(kind):
    logits = tf.constant([[-2.0, 0.5, 3.0], [1.0, -30.0, 0.0]])
    target = tf.constant([1, 3]) if kind is losses.FocalLoss else tf.constant([[0, 0.7, 0], [0.2, 0.0, 0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        found = kind(from_logits=False)(tf.sigmoid(logits), target)
        wanted = kind()(logits, target)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, logits), tape.gradient(wanted, logits), atol=1e-6)
    edges = kind(from_logits=False)(tf.constant([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), target)
    assert np.isfinite(edges.numpy())


def test_the_phase_decides_who_is_positive():
    model, (images, targets) = small("tood_r50_fpn_1x"), batch()
    assert model.has_late_losses
    early = {name: float(value) for name, value in model.compute_losses(images, targets).items()}
    model.use_late_losses(True)
    late = {name: float(value) for name, value in model.compute_losses(images, targets).items()}
    assert set(early) == set(late) == {"loss_cls", "loss_bbox"}
    assert early["loss_cls"] != late["loss_cls"] and np.isfinite(list(late.values())).all()


def test_levels_with_few_positives_count_up_to_twice():
    head = small("ddod_r50_fpn_1x").bbox_head
    sizes = [4, 2, 1, 1, 1]

    def assigned(*rows):
        index = np.full((1, 9), -1)
        index[0, list(rows)] = 0
        return Assignment(tf.constant(index, tf.int32), tf.ones([1, 9]))

    first = head.level_weights(assigned(0, 1, 4), sizes)  # 2, 1, 0, 0, 0 so far
    np.testing.assert_allclose(first, [1, 1, 1, 1, 1.5, 1.5, 2, 2, 2])
    second = head.level_weights(assigned(4, 5, 6), sizes)  # 2, 3, 1, 0, 0
    np.testing.assert_allclose(second, [4 / 3] * 4 + [1, 1, 5 / 3, 2, 2], rtol=1e-6)


def test_a_student_learns_from_its_teachers_positives():
    student, teacher = small("lad_r50_paa_r101_fpn_coco_1x"), small("paa_r50_fpn_1x")
    images, targets = batch()
    with pytest.raises(ValueError, match="attach_teacher"):
        student.compute_losses(images, targets)
    student.attach_teacher(teacher)
    found = student.compute_losses(images, targets)
    assert set(found) == {"loss_cls", "loss_bbox", "loss_iou"}
    other = small("atss_r50_fpn_1x")
    with pytest.raises(ValueError, match="leave train.late_losses_from out"):
        other.use_late_losses(True)
    student.attach_teacher(other)
    with pytest.raises(ValueError, match="positives of a PAAHead, not of a ATSSHead"):
        student.compute_losses(images, targets)
