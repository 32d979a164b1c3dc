import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def test_equals_the_reference(golden, form):
    check(golden, None)


def test_xla_equals_the_reference(golden, portable):
    check(golden, True)


def check(golden, jit_compile):
    case = golden("carafe")

    @tf.function(jit_compile=jit_compile)
    def run(features, masks):
        with tf.GradientTape() as tape:
            tape.watch((features, masks))
            out = ops.carafe(features, masks, kernel_size=5, groups=2)
        return out, *tape.gradient(out, (features, masks), case["upstream"])

    found = run(tf.constant(case["features"]), tf.constant(case["masks"]))
    for key, value in zip(("out", "grad_features", "grad_masks"), found, strict=True):
        np.testing.assert_allclose(value, case[key], atol=2e-5, err_msg=key)


def test_center_weights_repeat_the_pixels(form):
    features = tf.reshape(tf.range(12.0), [1, 2, 3, 2])
    masks = tf.one_hot(tf.fill([1, 4, 6], 4), 9)
    out = ops.carafe(features, masks, kernel_size=3)
    np.testing.assert_array_equal(out, tf.repeat(tf.repeat(features, 2, 1), 2, 2))


def test_channels_must_fit():
    with pytest.raises(ValueError, match="need 18 mask channels and a multiple of 2"):
        ops.carafe(tf.ones([1, 2, 2, 3]), tf.ones([1, 4, 4, 9]), kernel_size=3, groups=2)
