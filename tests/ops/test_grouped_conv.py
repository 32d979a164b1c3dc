import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled, dispatch, processor

needs_library = pytest.mark.skipif(
    compiled.why_not() is not None, reason="the compiled ops are not built here"
)


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
    for got, wanted in ((out, "out"), (grad_x, "grad_x"), (grad_kernel, "grad_kernel")):
        np.testing.assert_allclose(got, case[wanted], rtol=0, atol=1e-6 * np.abs(case[wanted]).max())


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


def assert_the_direct_sum(x, kernel, tolerance, **settings):
    """The compiled form and its gradients for every instruction set, against the portable ones in float64."""

    def results(x, kernel, form):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            out = ops.grouped_conv2d(x, kernel, implementation=form, **settings)
            loss = tf.reduce_sum(tf.cast(out, tf.float64) ** 2)  # so that every pixel sends something else
        return out, *tape.gradient(loss, (x, kernel))

    exact = results(tf.cast(x, tf.float64), tf.cast(kernel, tf.float64), "portable")
    for cpu in processor.cpus():
        with processor.use_cpu(cpu):
            of_compiled = results(x, kernel, "compiled")
        for found, right in zip(of_compiled, exact, strict=True):
            assert found.dtype == x.dtype
            error = tf.cast(found, tf.float64) - right
            assert np.abs(error).max() <= tolerance * np.abs(right).max(), cpu


@needs_library
@pytest.mark.parametrize("width, groups", [(4, 8), (8, 3), (8, 6), (16, 3), (32, 3), (64, 3)])
@pytest.mark.parametrize(
    "shape, padding", [((2, 7, 9), 1), ((1, 6, 53), 1), ((1, 1, 1), 1), ((2, 5, 8), 0), ((1, 4, 3), (2, 3))]
)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_winograd_is_the_direct_sum(width, groups, shape, padding, dtype, tolerance):
    """Maps that are no multiple of a tile, and wider than the tiles that are worked on together."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=[*shape, groups * width]), dtype)
    kernel = tf.constant(rng.normal(size=[3, 3, width, groups * width]), dtype)

    assert_the_direct_sum(x, kernel, tolerance, padding=padding, groups=groups)


@needs_library
@pytest.mark.parametrize("kernel", [(3, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize(
    "setting",
    [{}, *({name: size} for name in ("strides", "dilations") for size in ((1, 2), (2, 1)))],
    ids=str,
)
def test_what_only_one_axis_has(kernel, setting):
    """Winograd's transforms are for neither axis then."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=[2, 7, 9, 32]), tf.float32)
    kernel = tf.constant(rng.normal(size=[*kernel, 8, 32]), tf.float32)
    assert_the_direct_sum(x, kernel, 1e-6, padding=(2, 1), groups=4, **setting)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as far as the choice of a form sees."""
    monkeypatch.setattr(dispatch, "on_gpu", lambda: True)


def operations(graph):
    """Types of the operations of a graph and of the functions that it calls."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("wanted", ["auto", "portable"])
@pytest.mark.parametrize("groups, dilation", [(3, 1), (3, 2), (1, 2)])
def test_a_gpu_has_tensorflow_s_own_gradient(gpu, wanted, groups, dilation):
    """In the graph only: TensorFlow's CPU has no such gradient."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=[2, 7, 9, 12]), tf.float32)
    kernel = tf.constant(rng.normal(size=[3, 3, 12 // groups, 12]), tf.float32)

    def convolve(x, kernel):
        return ops.grouped_conv2d(x, kernel, 2, 1, dilation, groups)

    @tf.function
    def gradients(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            out = convolve(x, kernel)
        return tape.gradient(out, (x, kernel))

    with ops.use(wanted):
        found = tf.function(convolve)
        forward = operations(found.get_concrete_function(x, kernel).graph)
        both = operations(gradients.get_concrete_function(x, kernel).graph)
        padding = [[0, 0], [1, 1], [1, 1], [0, 0]]
        np.testing.assert_array_equal(
            found(x, kernel), tf.nn.conv2d(x, kernel, 2, padding, dilations=dilation)
        )
    assert "Conv2D" in forward and not forward & {"IdentityN", "KdetGroupedConv"}
    assert {"Conv2DBackpropInput", "Conv2DBackpropFilter"} <= both
    assert not both & {"IdentityN", "KdetGroupedConvGrad", "ConcatV2", "Einsum"}
