import numpy as np
import tensorflow as tf

from kdet.coders import DeltaXYWHCoder


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
