import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("align_corners", [False, True])
def test_equals_the_reference(golden, form, align_corners):
    case = golden("point_sample")
    features, points = tf.constant(case["features"]), tf.constant(case["points"])
    with tf.GradientTape() as tape:
        tape.watch((features, points))
        out = ops.point_sample(features, points, align_corners)
    found = (out, *tape.gradient(out, (features, points), case["upstream"]))
    for key, value in zip(("out", "grad_features", "grad_points"), found, strict=True):
        np.testing.assert_allclose(value, case[f"{key}_{align_corners}"], atol=1e-5, err_msg=key)


def test_by_hand(form):
    features = tf.reshape([0.0, 1.0, 2.0, 3.0], [1, 2, 2, 1])
    points = [[[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 0.25], [2.0, 0.5]]]
    out = ops.point_sample(features, points)
    np.testing.assert_allclose(tf.reshape(out, [-1]), [0, 0.5, 1.5, 0, 0], atol=1e-6)
    corners = ops.point_sample(features, [[[0.0, 0.0], [1.0, 1.0]]], align_corners=True)
    np.testing.assert_allclose(tf.reshape(corners, [-1]), [0, 3], atol=1e-6)
