import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def outputs_and_gradients(case, jit_compile=None, dtype=tf.float32, **options):
    stride, pad_y, pad_x, dilation, groups, deform_groups = (int(v) for v in case["config"])
    names = [name for name in ("x", "kernel", "offsets", "mask") if name in case]

    def run(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            out = ops.deform_conv2d(
                *tensors,
                strides=stride,
                padding=(pad_y, pad_x),
                dilations=dilation,
                groups=groups,
                deform_groups=deform_groups,
                **options,
            )
        return out, tape.gradient(out, tensors, tf.cast(case["upstream"], out.dtype))

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile)
    out, gradients = run(*(tf.cast(case[name], dtype) for name in names))
    return {"out": out, **{f"grad_{name}": g for name, g in zip(names, gradients, strict=True)}}


@pytest.fixture
def case_of(golden):
    arrays = golden("deform_conv")
    return lambda name: {k.split("_", 1)[1]: v for k, v in arrays.items() if k.startswith(name)}


@pytest.mark.parametrize("name", ["plain", "modulated", "strided", "grouped"])
def test_equals_the_reference(case_of, form, name):
    case = case_of(name)
    for key, value in outputs_and_gradients(case).items():
        np.testing.assert_allclose(value, case[key], atol=1e-4 * np.abs(case[key]).max(), err_msg=key)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(case_of, portable, jit_compile):
    case = case_of("modulated")
    for key, value in outputs_and_gradients(case, jit_compile).items():
        np.testing.assert_allclose(value, case[key], atol=1e-4 * np.abs(case[key]).max(), err_msg=key)


def test_half_precision_keeps_its_dtype(case_of, form):
    case = case_of("modulated")
    found = outputs_and_gradients(case, dtype=tf.float16)
    assert {v.dtype for v in found.values()} == {tf.float16}
    np.testing.assert_allclose(found["out"], case["out"], atol=0.02 * np.abs(case["out"]).max())


def test_no_offsets_is_a_convolution(form):
    rng = np.random.RandomState(0)
    x, kernel = tf.constant(rng.randn(1, 6, 7, 4), tf.float32), tf.constant(rng.randn(3, 3, 4, 5), tf.float32)
    out = ops.deform_conv2d(x, kernel, tf.zeros([1, 6, 7, 18]), padding=1)
    np.testing.assert_allclose(out, tf.nn.conv2d(x, kernel, 1, "SAME"), atol=1e-5)


def test_channels_must_fit():
    with pytest.raises(ValueError, match="need 18 offset channels, not 9"):
        ops.deform_conv2d(tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2]), tf.ones([1, 2, 2, 9]))
    with pytest.raises(ValueError, match="groups=2"):
        ops.deform_conv2d(tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2]), tf.ones([1, 2, 2, 18]), groups=2)
