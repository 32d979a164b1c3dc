import numpy as np
import pytest
import tensorflow as tf

from kdet.coders import DeltaXYWHCoder
from kdet.priors import AnchorGenerator


def test_anchors_of_one_cell_and_their_order():
    anchors = AnchorGenerator(strides=[8], ratios=[0.5, 2.0], scales=[1, 2])([(1, 2)])[0].numpy()
    assert anchors.shape == (4 * 2, 4)
    size = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(size[:, 1] / size[:, 0], [0.5, 0.5, 2, 2] * 2, rtol=1e-6)
    np.testing.assert_allclose(np.prod(size, -1), [64, 256, 64, 256] * 2, rtol=1e-5)
    np.testing.assert_allclose(anchors[4:] - anchors[:4], np.tile([8, 0, 8, 0], (4, 1)), atol=1e-5)


def test_anchor_scales_must_be_given_once():
    with pytest.raises(ValueError, match="either scales or octave_base_scale"):
        AnchorGenerator(strides=[8], scales=[1], octave_base_scale=4, scales_per_octave=3)


def test_anchors_in_the_padding_are_not_valid():
    generator = AnchorGenerator(strides=[16], ratios=[1.0], scales=[1])
    valid = generator.valid([(2, 3)], tf.constant([[32.0, 48.0], [16.0, 33.0]])).numpy()
    np.testing.assert_array_equal(valid[0], [True] * 6)
    np.testing.assert_array_equal(valid[1], [True] * 3 + [False] * 3)  # 33 pixels reach a third cell


def test_deltas_come_back_as_the_box():
    coder = DeltaXYWHCoder(stds=[0.1, 0.1, 0.2, 0.2])
    priors, boxes = tf.constant([[[0.0, 0, 10, 20]]]), tf.constant([[[3.0, 1, 9, 31]]])
    deltas = coder.encode(priors, boxes)
    np.testing.assert_allclose(
        deltas[0, 0], [1 / 0.1 * 0.1, 6 / 20 / 0.1, np.log(0.6) / 0.2, np.log(1.5) / 0.2], rtol=1e-5
    )
    np.testing.assert_allclose(coder.decode(priors, deltas), boxes, atol=1e-5)


def test_decoded_boxes_are_cut_to_each_image_and_their_growth_is_limited():
    coder = DeltaXYWHCoder()
    priors = tf.constant([[[0.0, 0, 10, 10]]] * 2)
    deltas = tf.constant([[[0.0, 0, 100, 100]]] * 2)
    free = coder.decode(priors, deltas)
    np.testing.assert_allclose(free[0, 0, 2] - free[0, 0, 0], 10 * 1000 / 16, rtol=1e-5)
    cut = coder.decode(priors, deltas, tf.constant([[50.0, 60.0], [70.0, 80.0]]))
    np.testing.assert_array_equal(cut[:, 0], [[0, 0, 60, 50], [0, 0, 80, 70]])
