import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def test_equals_the_reference(golden, form):
    case = golden("masked_conv")
    tensors = [tf.constant(case[name]) for name in ("x", "kernel", "bias")]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        out = ops.masked_conv2d(tensors[0], case["mask"], *tensors[1:], padding=1)
    np.testing.assert_allclose(out, case["out"], atol=1e-5)
    found = tape.gradient(out, tensors, case["upstream"])
    for name, gradient in zip(("grad_x", "grad_kernel", "grad_bias"), found, strict=True):
        np.testing.assert_allclose(gradient, case[name], atol=2e-5, err_msg=name)


def test_by_hand(form):
    x = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    mask = tf.constant([[[1, 0, 0], [0, 1, 0], [0, 0, -1]]])
    out = ops.masked_conv2d(x, mask, tf.ones([3, 3, 1, 1]), [0.5], padding=1)
    np.testing.assert_array_equal(out[0, ..., 0], [[0 + 1 + 3 + 4 + 0.5, 0, 0], [0, 36.5, 0], [0, 0, 0]])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_is_a_convolution_where_the_mask_is_set(form, share):
    rng = np.random.RandomState(0)
    x, kernel = rng.randn(2, 20, 17, 18).astype("f"), rng.randn(3, 5, 18, 7).astype("f")
    mask = rng.rand(2, 10, 17) < share
    with tf.GradientTape(persistent=True) as tape:
        tensors = [tf.constant(x), tf.constant(kernel), tf.zeros([7])]
        tape.watch(tensors)
        out = ops.masked_conv2d(tensors[0], mask, *tensors[1:], strides=(2, 1), padding=(1, 2))
        full = tf.nn.conv2d(tensors[0], tensors[1], (2, 1), [[0, 0], [1, 1], [2, 2], [0, 0]]) + tensors[2]
        full = tf.where(mask[..., None], full, 0.0)
        weight = tf.constant(rng.randn(*full.shape), tf.float32)
        totals = [tf.reduce_sum(value * weight) for value in (out, full)]
    np.testing.assert_allclose(out, full, atol=1e-4)
    for a, b in zip(*(tape.gradient(total, tensors) for total in totals), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_a_mask_of_another_size_is_refused(form):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        ops.masked_conv2d(tf.ones([1, 4, 4, 2]), tf.ones([1, 4, 3]), tf.ones([3, 3, 2, 2]), padding=1)
