import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize(
    "name", ["narrow", "four", "eight", "sixteen", "wide", "dilated", "depthwise", "dense"]
)
def test_equals_the_reference(golden, form, name):
    case = {k.split("_", 1)[1]: v for k, v in golden("grouped_conv").items() if k.startswith(name)}
    groups, stride, dilation = (int(v) for v in case["config"])
    x, kernel = tf.constant(case["x"]), tf.constant(case["kernel"])
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        out = ops.grouped_conv2d(x, kernel, stride, dilation, dilation, groups)
    grad_x, grad_kernel = tape.gradient(out, (x, kernel), case["upstream"])
    np.testing.assert_allclose(out, case["out"], atol=2e-5)
    np.testing.assert_allclose(grad_x, case["grad_x"], atol=2e-5)
    np.testing.assert_allclose(grad_kernel, case["grad_kernel"], atol=5e-5)


def test_groups_must_fit():
    with pytest.raises(ValueError, match="3 groups do not fit an input of 8 channels"):
        ops.grouped_conv2d(tf.ones([1, 4, 4, 8]), tf.ones([3, 3, 2, 8]), groups=3)


def test_by_hand(form):
    x = tf.reshape([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 4])
    kernel = tf.reshape(
        [1.0, 1.0, 10.0, 1.0, 2.0, 0.0, 20.0, -1.0], [1, 1, 2, 4]
    )  # [input, output] of both groups
    out = ops.grouped_conv2d(x, kernel, groups=2)
    np.testing.assert_array_equal(tf.reshape(out, [-1]), [1 + 2 * 2, 1, 3 * 10 + 4 * 20, 3 - 4])
