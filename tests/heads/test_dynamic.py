"""Dynamic R-CNN's choice of what its threshold follows."""

import numpy as np
import tensorflow as tf

from kdet.heads.roi.dynamic import overlap_of_rank


def test_padding_has_no_rank():
    overlaps = tf.constant([[0.3, 1.0, 0.7, 0.2], [0.4, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    real = tf.constant([[True] * 4, [True, True, False, False], [False] * 4])
    np.testing.assert_allclose(overlap_of_rank(overlaps, real, 3), [0.3, 0.4, 0.0])
    np.testing.assert_allclose(overlap_of_rank(overlaps, real, 1), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(overlap_of_rank(overlaps, real, 75), [0.2, 0.4, 0.0])
