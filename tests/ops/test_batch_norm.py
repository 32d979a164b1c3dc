import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled

SHAPES = [(2, 5, 7, 3), (3, 4, 4, 40), (6, 2), (2, 3, 2, 4, 5), (2, 70, 60, 17)]


def exact(x, gamma, beta, upstream, epsilon=1e-5, counted=None):
    """y, mean, unbiased variance and the gradients of x, gamma and beta in float64."""
    shape = x.shape
    rows = np.ones(len(x)) if counted is None else np.asarray(counted, np.float64)
    weight = np.repeat(rows, np.prod(shape[1:-1], dtype=int))[:, None]
    x, upstream = (a.reshape(-1, shape[-1]).astype(np.float64) for a in (x, upstream))
    n = weight.sum()
    mean = (x * weight).sum(0) / n
    variance = ((x - mean) ** 2 * weight).sum(0) / n
    inverse = 1 / np.sqrt(variance + epsilon)
    normal = (x - mean) * inverse
    for_gamma, for_beta = (upstream * normal).sum(0), upstream.sum(0)
    for_x = gamma * inverse * (upstream - weight * (for_beta + normal * for_gamma) / n)
    y = normal * gamma + beta
    return (
        y.reshape(shape), mean, variance * n / max(n - 1, 1), for_x.reshape(shape), for_gamma, for_beta
    )  # fmt: skip


def example(shape, offset=0.0, seed=0):
    rng = np.random.RandomState(seed)
    x, upstream = (rng.randn(*shape).astype("f") for _ in range(2))
    return (
        x + np.float32(offset),
        rng.rand(shape[-1]).astype("f") + 0.5,
        rng.randn(shape[-1]).astype("f"),
        upstream,
    )


def computed(x, gamma, beta, upstream, **kwargs):
    x, gamma, beta = (tf.convert_to_tensor(t) for t in (x, gamma, beta))
    with tf.GradientTape() as tape:
        tape.watch((x, gamma, beta))
        out = ops.batch_norm(x, gamma, beta, **kwargs)
    return (
        out.y,
        out.mean,
        out.variance,
        *tape.gradient(out.y, (x, gamma, beta), tf.cast(upstream, x.dtype)),
    )


def assert_near(found, expected, tolerance):
    names = ("y", "mean", "variance", "for x", "for gamma", "for beta")
    for name, a, b in zip(names, found, expected, strict=True):
        scale = max(np.abs(b).max(), 1e-3)
        np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=0, atol=tolerance * scale, err_msg=name)


def test_by_hand(form):
    x = tf.reshape([1.0, 10.0, 3.0, 10.0], [2, 1, 1, 2])  # channels 1, 3 and 10, 10
    out = ops.batch_norm(x, [2.0, 5.0], [0.5, 7.0], epsilon=1e-12)
    np.testing.assert_allclose(tf.reshape(out.y, [-1]), [-1.5, 7.0, 2.5, 7.0], atol=1e-5)
    np.testing.assert_allclose(out.mean, [2, 10], atol=1e-6)
    np.testing.assert_allclose(out.variance, [2, 0], atol=1e-6)
    assert float(out.count) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_against_float64(form, shape):
    tensors = example(shape)
    assert_near(computed(*tensors), exact(*tensors), 2e-5)


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_compiled_sums_are_exact(offset):
    """TensorFlow's fused norm misses these bounds (y by 7e-7 and 8e-6, mean and variance by 4e-6)."""
    tensors = example((2, 100, 90, 8), offset)
    with ops.use("compiled"):
        found = computed(*tensors)
    expected = exact(*tensors)
    assert_near(found, expected, 4e-7 if offset == 0 else 1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found[2], expected[2], rtol=2e-7)


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_rows_that_do_not_count(form, shape):
    tensors = example(shape)
    counted = np.zeros(shape[0], "f")
    counted[1:] = 2.0
    assert_near(computed(*tensors, counted=counted), exact(*tensors, counted=counted > 0), 2e-5)


def test_nothing_counts(form):
    out = ops.batch_norm(tf.ones([2, 3, 3, 4]), tf.ones([4]), tf.zeros([4]), counted=tf.zeros([2]))
    assert float(out.count) == 0 and not np.any(out.mean) and not np.any(out.variance)
    assert np.isfinite(out.y).all()


def test_empty_batch(form):
    out = ops.batch_norm(tf.ones([0, 3, 3, 4]), tf.ones([4]), tf.zeros([4]))
    assert out.y.shape == (0, 3, 3, 4) and float(out.count) == 0
    assert not np.any(out.mean) and not np.any(out.variance)


def test_one_value_per_channel_is_refused(form):
    with pytest.raises(ValueError, match="more than one value per channel.*1, 1, 1, 4"):
        ops.batch_norm(tf.ones([1, 1, 1, 4]), tf.ones([4]), tf.zeros([4]))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_types_have_float32_statistics(form, dtype):
    x, gamma, beta, upstream = example((2, 9, 8, 12))
    x = tf.cast(x + 3, dtype)
    found = computed(x, gamma, beta, upstream)
    assert [t.dtype for t in found] == [dtype, tf.float32, tf.float32, dtype, tf.float32, tf.float32]
    rounded = [tf.cast(tf.cast(t, dtype), tf.float32).numpy() for t in (x, upstream)]
    expected = exact(rounded[0], gamma, beta, rounded[1])
    found = [np.asarray(tf.cast(t, tf.float32)) for t in found]
    assert_near(found, expected, 2e-3 if dtype == tf.float16 else 1e-2)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4)
