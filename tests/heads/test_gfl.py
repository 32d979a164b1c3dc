"""What the losses of distributions over distances are given."""

import numpy as np
import tensorflow as tf

from kdet.contract import Assignment
from kdet.heads.dense.gfl import GFLHead
from kdet.priors import AnchorGenerator


def given(index):
    """Arguments of the three losses where two points at x = 0 and 8 have the object ``index``."""
    found = {}

    def loss(name):
        return lambda *arguments: found.setdefault(name, [np.asarray(x) for x in arguments if x is not None])

    head = GFLHead(
        num_classes=2, anchor_generator=AnchorGenerator(strides=[8], ratios=[1.0], scales=[8]),
        assigner=None, reg_max=4, stacked_convs=0,
        loss_cls=loss("cls"), loss_bbox=loss("bbox"), loss_dfl=loss("dfl"),
    )  # fmt: skip
    scores = tf.math.log([[[[1.0, 3.0], [1.0, 0.5]]]])  # sigmoids 1/2, 3/4 and 1/2, 1/3
    outputs = (scores,), (tf.zeros([1, 1, 2, 20]),)  # two strides to every side
    targets = {"boxes": tf.constant([[[0.4, -40.0, 8.4, 8.0]]]), "labels": tf.constant([[1]])}
    head.assigned_losses(outputs, None, Assignment(tf.constant([index]), tf.ones([1, 2])), targets, 7.0)
    return found


def test_sides_count_in_strides_and_end_just_below_the_last_place():
    _, sides, weight, total = given([0, 0])["dfl"]
    np.testing.assert_allclose(sides[0], [[0, 3.9, 1.05, 1], [0.95, 3.9, 0.05, 1]], atol=1e-6)
    np.testing.assert_allclose(weight, [[0.75, 0.5]], rtol=1e-6)  # the surest class
    np.testing.assert_allclose(total, 4 * 1.25, rtol=1e-6)


def test_boxes_weigh_one_point_at_least():
    found = given([-1, 0])
    np.testing.assert_allclose(found["bbox"][2], [[0, 0.5]])
    assert found["bbox"][3] == 1.0 and found["dfl"][3] == 4.0
    np.testing.assert_allclose(found["bbox"][0][0], [[-16, -16, 16, 16], [-8, -16, 24, 16]], atol=1e-5)


def test_scores_are_to_be_the_overlap():
    scores, soft, weight, normalizer = given([-1, 0])["cls"]
    assert scores.shape == (1, 2, 2) and normalizer == 7.0
    # 8 by 24 of the object's 8 by 48 lie in the predicted 32 by 32
    np.testing.assert_allclose(soft[0], [[0, 0], [0, 8 * 24 / (8 * 48 + 32 * 32 - 8 * 24)]], rtol=1e-6)
    np.testing.assert_array_equal(weight, [[1, 1]])
