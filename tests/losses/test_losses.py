import numpy as np
import pytest
import tensorflow as tf

from kdet import geometry, losses

PRED = tf.constant([[0.0, 0, 10, 10], [5, 5, 15, 15]])
TARGET = tf.constant([[0.0, 0, 10, 5], [20, 20, 30, 30]])


def test_iou_of_hand_made_boxes():
    np.testing.assert_allclose(geometry.aligned_iou(PRED, TARGET), [0.5, 0.0])
    # second pair: hull 25x25, union 200
    np.testing.assert_allclose(
        geometry.aligned_iou(PRED, TARGET, "giou", 1e-7), [0.5, -(625 - 200) / 625], rtol=1e-5
    )
    np.testing.assert_allclose(
        geometry.pairwise_iou(PRED, TARGET, "iof"), [[0.5, 0.0], [0.0, 0.0]], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.IoULoss(), [np.log(2), -np.log(1e-6)]),
        (losses.IoULoss(mode="linear"), [0.5, 1.0]),
        (losses.IoULoss(mode="square"), [0.75, 1.0]),
        (losses.GIoULoss(), [0.5, 1 + 425 / 625]),
        # centers 2.5 apart on a hull of diagonal^2 200; 15*sqrt(2) apart, diagonal^2 1250
        (losses.DIoULoss(), [0.5 + 6.25 / 200, 1 + 450 / 1250]),
    ],
)
def test_overlap_losses(loss, expected):
    np.testing.assert_allclose(loss.elementwise(PRED, TARGET), expected, rtol=1e-5)


def test_rows_of_weight_zero_may_hold_anything():
    pred = tf.constant([[1.0, 2.0], [np.inf, 0.0]])
    loss = losses.L1Loss(loss_weight=2.0)(pred, tf.zeros([2, 2]), tf.constant([1.0, 0.0]), avg_factor=3.0)
    np.testing.assert_allclose(loss, 2 * 3 / 3, rtol=1e-6)


def test_focal_loss_of_background_and_object():
    logits = tf.constant([[0.0, 0.0]])
    half = 0.25 * np.log(2)  # (1 - p)^2 * -log(p) at p = 0.5
    loss = losses.FocalLoss()
    np.testing.assert_allclose(loss.elementwise(logits, tf.constant([2])), [[0.75 * half] * 2], rtol=1e-6)
    np.testing.assert_allclose(
        loss.elementwise(logits, tf.constant([1])), [[0.75 * half, 0.25 * half]], rtol=1e-6
    )


def test_unknown_iou_mode_is_refused():
    with pytest.raises(ValueError, match="'log', 'linear' or 'square'"):
        losses.IoULoss(mode="cubic")
