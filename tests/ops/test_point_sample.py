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
