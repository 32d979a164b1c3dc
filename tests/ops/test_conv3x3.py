import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled

needs_library = pytest.mark.skipif(
    compiled.why_not() is not None, reason="the compiled ops are not built here"
)


def case(shape, outputs, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = (rng.normal(size=[3, 3, shape[-1], outputs]) / np.sqrt(9 * shape[-1])).astype(np.float32)
    return tf.constant(x), tf.constant(kernel), tf.constant(rng.normal(size=outputs), tf.float32)


@needs_library
@pytest.mark.parametrize("shape", [(1, 8, 12, 16), (2, 7, 9, 32), (3, 1, 2, 48), (2, 13, 5, 64)])
@pytest.mark.parametrize("outputs", [32, 40, 64])
@pytest.mark.parametrize("relu", [False, True])
def test_forms_agree(cpu, shape, outputs, relu):
    x, kernel, bias = case(shape, outputs)
    plain = ops.conv3x3(x, kernel, bias, relu, implementation="portable")
    quick = ops.conv3x3(x, kernel, bias, relu, implementation="compiled")
    assert quick.shape == plain.shape
    np.testing.assert_allclose(quick, plain, atol=5e-5)


@needs_library
def test_an_empty_batch_gives_an_empty_batch():
    assert ops.conv3x3(*case((0, 4, 4, 16), 32), implementation="compiled").shape == (0, 4, 4, 32)


@needs_library
def test_gradients_agree(cpu):
    case_ = case((2, 6, 7, 16), 32)

    def gradients(form):
        with tf.GradientTape() as tape:
            tape.watch(case_)
            loss = tf.reduce_sum(tf.sin(ops.conv3x3(*case_, relu=True, implementation=form)))
        return tape.gradient(loss, case_)

    for quick, plain in zip(gradients("compiled"), gradients("portable")):
        np.testing.assert_allclose(quick, plain, atol=2e-4)


@needs_library
def test_channels_that_do_not_fit_are_refused(cpu):
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiple of 16"):
        ops.conv3x3(*case((1, 4, 4, 10), 32), implementation="compiled")


@needs_library
def test_inside_a_graph_with_an_unknown_size():
    x, kernel, bias = case((1, 9, 10, 64), 64)
    graph = tf.function(
        lambda x: ops.conv3x3(x, kernel, bias), input_signature=[tf.TensorSpec([None, None, None, 64])]
    )
    np.testing.assert_allclose(graph(x), ops.conv3x3(x, kernel, bias, implementation="portable"), atol=5e-5)


def test_half_precision_takes_the_portable_form_where_the_other_would_pay():
    half = [tf.cast(part, tf.float16) for part in case((1, 64, 32, 64), 64)]
    plain = ops.conv3x3(*half, implementation="portable")
    found = ops.conv3x3(*half)
    assert found.dtype == tf.float16
    np.testing.assert_array_equal(found, plain)


def test_a_single_pixel_sees_the_kernel_s_middle():
    x, kernel, bias = case((1, 1, 1, 16), 32)
    expected = x.numpy()[0, 0] @ kernel.numpy()[1, 1] + bias.numpy()
    np.testing.assert_allclose(ops.conv3x3(x, kernel, bias)[0, 0], expected, rtol=1e-4, atol=1e-5)
