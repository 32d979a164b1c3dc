"""SSD: its default boxes, its normalisation, its hard negatives."""

import numpy as np
import tensorflow as tf

from kdet.assigners import Assignment
from kdet.coders import DeltaXYWHCoder
from kdet.heads.dense.ssd import SoftmaxAnchorHead
from kdet.necks.ssd_neck import L2Norm
from kdet.priors import LegacySSDAnchorGenerator, SSDAnchorGenerator, YOLOAnchorGenerator


def test_default_boxes_are_two_squares_and_two_shapes_per_ratio():
    generator = SSDAnchorGenerator(strides=[8, 16], ratios=[[2], [2, 3]], sizes=[20, 45, 80])
    assert generator.num_anchors == [4, 6]
    first = generator.base_anchors[0]
    np.testing.assert_allclose((first[:, :2] + first[:, 2:]) / 2, np.full((4, 2), 4.0), rtol=1e-6)
    wide, tall = 20 * 2**0.5, 20 / 2**0.5
    sizes = [[20, 20], [30, 30], [wide, tall], [tall, wide]]
    np.testing.assert_allclose(first[:, 2:] - first[:, :2], sizes, rtol=1e-6)
    anchors = generator([(2, 2), (1, 1)])
    assert [len(a) for a in anchors] == [16, 6]
    assert generator.valid([(2, 2), (1, 1)], tf.constant([[8.0, 16.0]])).numpy().sum() == 8 + 6


def test_legacy_default_boxes_are_whole_pixels():
    base = LegacySSDAnchorGenerator(strides=[8], ratios=[[2]], sizes=[21, 45]).base_anchors[0]
    np.testing.assert_array_equal(base, np.round(base))
    np.testing.assert_array_equal(base[0], [-6, -6, 14, 14])  # 21 pixels around 3.5, to even


def test_l2_norm_of_an_empty_pixel_has_a_finite_gradient():
    layer = L2Norm(scale=20.0)
    x = tf.constant([[[[3.0, 4.0], [0.0, 0.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y[0, 0], [[12.0, 16.0], [0.0, 0.0]], rtol=1e-6)
    assert np.isfinite(tape.gradient(y, x)).all()


def mining_head(**kwargs):
    generator = YOLOAnchorGenerator([8], [[[8, 8]]])
    return SoftmaxAnchorHead(2, generator, DeltaXYWHCoder(), None, None, None, **kwargs)


def test_only_the_hardest_negatives_of_a_picture_count():
    losses = tf.constant([[1.0, 5.0, 2.0, 4.0, 9.0], [1.0, 5.0, 2.0, 4.0, 9.0]])
    # the last anchor of each picture is ignored; the second picture has no positive
    index = tf.constant([[0, -1, -1, -1, -1], [-1, -1, -1, -1, -1]])
    assignment = Assignment(index, tf.constant([[1.0, 1.0, 1.0, 1.0, 0.0]] * 2))
    assert mining_head(neg_pos_ratio=2).mined_loss(losses, assignment) == 1 + 5 + 4
    everything = mining_head(neg_pos_ratio=2, all_negatives_without_objects=True)
    assert everything.mined_loss(losses, assignment) == 1 + 5 + 4 + (1 + 5 + 2 + 4)
