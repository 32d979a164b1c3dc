import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def test_equals_the_reference(golden, form):
    check(golden, None)


def test_xla_equals_the_reference(golden, portable):
    check(golden, True)


def check(golden, jit_compile):
    case = golden("ms_deform_attn")
    names = ("value", "locations", "weights")
    shapes = [tuple(shape) for shape in case["shapes"].tolist()]

    @tf.function(jit_compile=jit_compile)
    def run(value, locations, weights):
        with tf.GradientTape() as tape:
            tape.watch((value, locations, weights))
            out = ops.ms_deform_attn(value, shapes, locations, weights)
        return out, *tape.gradient(out, (value, locations, weights), case["upstream"])

    found = run(*(tf.constant(case[name]) for name in names))
    for key, value in zip(("out", *(f"grad_{name}" for name in names)), found, strict=True):
        np.testing.assert_allclose(value, case[key], atol=1e-5 * max(1, np.abs(case[key]).max()), err_msg=key)


def test_one_sample_by_hand(form):
    value = tf.reshape(tf.range(6.0), [1, 6, 1, 1])  # a map of 2 x 3
    locations = tf.constant([[0.5, 0.5], [0.5 / 3, 0.25], [3.0, 0.5]])[None, :, None, None, None]
    out = ops.ms_deform_attn(value, [(2, 3)], locations, tf.fill([1, 3, 1, 1, 1], 2.0))
    np.testing.assert_allclose(tf.squeeze(out), [5.0, 0.0, 0.0], atol=1e-6)


def test_levels_must_agree():
    with pytest.raises(ValueError, match="locations must be .*levels=1"):
        ops.ms_deform_attn(
            tf.ones([1, 4, 1, 1]), [(2, 2)], tf.ones([1, 1, 1, 2, 1, 2]), tf.ones([1, 1, 1, 2, 1])
        )
