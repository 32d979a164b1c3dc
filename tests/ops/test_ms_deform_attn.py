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


@pytest.mark.parametrize("dtype,tolerance", [(tf.float16, 1e-2), (tf.bfloat16, 8e-2)])
def test_places_in_half_precision(form, dtype, tolerance):
    """Locations and weights of the value's dtype count as the float32 numbers that they are."""
    rng = np.random.RandomState(0)
    arrays = rng.randn(2, 16, 2, 3), rng.uniform(-0.2, 1.2, (2, 5, 2, 2, 3, 2)), rng.rand(2, 5, 2, 2, 3)
    tensors = [tf.cast(tf.constant(a), dtype) for a in arrays]

    def run(tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            out = ops.ms_deform_attn(tensors[0], [(3, 4), (2, 2)], *tensors[1:])
        return [out, *tape.gradient(out, tensors)]

    found = run(tensors)
    assert all(value.dtype == dtype for value in found)
    with ops.use("portable"):
        expected = run([tf.cast(t, tf.float32) for t in tensors])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(tf.cast(a, tf.float32), b, atol=tolerance * max(1, np.abs(b).max()))
