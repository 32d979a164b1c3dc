import numpy as np
import pytest
import tensorflow as tf

from kdet.priors import AnchorGenerator


def test_anchors_of_one_cell_and_their_order():
    anchors = AnchorGenerator(strides=[8], ratios=[0.5, 2.0], scales=[1, 2])([(1, 2)])[0].numpy()
    assert anchors.shape == (4 * 2, 4)
    size = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(size[:, 1] / size[:, 0], [0.5, 0.5, 2, 2] * 2, rtol=1e-6)
    np.testing.assert_allclose(np.prod(size, -1), [64, 256, 64, 256] * 2, rtol=1e-5)
    np.testing.assert_allclose(anchors[4:] - anchors[:4], np.tile([8, 0, 8, 0], (4, 1)), atol=1e-5)


def test_anchor_scales_must_be_given_once():
    with pytest.raises(ValueError, match="either scales, or octave_base_scale"):
        AnchorGenerator(strides=[8], scales=[1], octave_base_scale=4, scales_per_octave=3)


def test_anchors_in_the_padding_are_not_valid():
    generator = AnchorGenerator(strides=[16], ratios=[1.0], scales=[1])
    valid = generator.valid([(2, 3)], tf.constant([[32.0, 48.0], [16.0, 33.0]])).numpy()
    np.testing.assert_array_equal(valid[0], [True] * 6)
    np.testing.assert_array_equal(valid[1], [True] * 3 + [False] * 3)  # 33 pixels reach a third cell
