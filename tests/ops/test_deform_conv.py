import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled, deform_conv, dispatch
from tests.ops.cases import CASES, TOLERANCE, tensors_of
from tests.ops.cases import outputs_and_gradients as outputs_and_gradients_of


@pytest.fixture(params=["portable", "direct", "columns"])
def form(request, monkeypatch):
    """Runs a test with the portable form, with the compiled one for CPUs and with that for GPUs."""
    if request.param != "portable" and compiled.why_not():
        pytest.skip(compiled.why_not())
    monkeypatch.setattr(dispatch, "on_gpu", lambda: request.param == "columns")
    with ops.use("portable" if request.param == "portable" else "compiled"):
        yield request.param


@pytest.fixture
def by_columns(monkeypatch):
    """Runs a test as on a machine with a GPU."""
    if compiled.why_not():
        pytest.skip(compiled.why_not())
    monkeypatch.setattr(dispatch, "on_gpu", lambda: True)
    with ops.use("compiled"):
        yield


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


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("channels,groups,deform_groups", [(6, 1, 1), (12, 2, 3), (12, 3, 2), (8, 4, 4)])
def test_groups_and_types(form, dtype, channels, groups, deform_groups):
    rng = np.random.RandomState(groups)
    samples = 6 * deform_groups
    tensors = [
        tf.constant(rng.randn(2, 7, 9, channels), dtype),
        tf.constant(rng.randn(3, 2, channels // groups, 12), dtype),
        tf.constant(rng.randn(2, 5, 4, 2 * samples) * 2, tf.float32),
        tf.constant(rng.rand(2, 5, 4, samples), tf.float32),
    ]
    options = dict(
        strides=(1, 2), padding=(1, 0), dilations=(2, 2), groups=groups, deform_groups=deform_groups
    )

    def run(tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            out = ops.deform_conv2d(*tensors, **options)
            total = tf.reduce_sum(tf.sin(tf.cast(out, tf.float32)))
        return [out, *tape.gradient(total, tensors)]

    with ops.use("portable"):
        expected = run([tf.cast(t, tf.float32) for t in tensors])
    for k, (a, b) in enumerate(zip(run(tensors), expected, strict=True)):
        assert k == 0 or a.dtype == tensors[k - 1].dtype
        tolerance = TOLERANCE[dtype] * (1 if k == 0 else 4)  # the output is rounded before its sine is taken
        np.testing.assert_allclose(
            tf.cast(a, tf.float32), b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=str(k)
        )


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_columns_of_an_unknown_batch(by_columns, batch):
    case = CASES["deform_conv2d"]
    tensors = [t[:batch] if k in case.batched else t for k, t in enumerate(tensors_of(case))]
    shapes = [[None, *t.shape[1:]] if k in case.batched else t.shape for k, t in enumerate(tensors)]
    shapes[0] = shapes[0][:1] + [None, None] + shapes[0][3:]
    graph = tf.function(
        lambda *t: outputs_and_gradients_of(case, list(t)), input_signature=[tf.TensorSpec(s) for s in shapes]
    )
    with ops.use("portable"):
        expected = outputs_and_gradients_of(case, tensors)
    for a, b in zip(graph(*tensors), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max(initial=0)))


def test_columns_are_not_kept_for_the_backward_pass(by_columns):
    """TensorFlow makes one op of two that are alike; that of the backward pass must stay one of its own."""
    arrays, run = CASES["deform_conv2d"].tensors, CASES["deform_conv2d"].call
    with tf.Graph().as_default():
        tensors = [tf.compat.v1.placeholder(tf.float32, a.shape) for a in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = tf.reduce_sum(tf.sin(run(*tensors)))
        gradients = tape.gradient(total, tensors)
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        ran = tf.compat.v1.RunMetadata()
        with tf.compat.v1.Session() as session:
            session.run(gradients, dict(zip(tensors, arrays, strict=True)), options, ran)
    used = [node for graph in ran.partition_graphs for node in graph.node if "Columns" in node.op]
    assert sorted(node.op for node in used) == [*["KdetDeformColumns"] * 2, "KdetDeformColumnsGrad"]
    products = [node for graph in ran.partition_graphs for node in graph.node if "MatMul" in node.op]
    assert len(products) == 3 and sum("^" in " ".join(node.input) for node in products) == 1


def test_a_gpu_takes_the_columns(monkeypatch):
    used = []
    for form in ("_direct", "_by_columns"):
        monkeypatch.setattr(
            deform_conv, form, lambda *_, form=form, **__: used.append(form) or tf.zeros([1, 2, 2, 2])
        )
    for gpu in (False, True):
        monkeypatch.setattr(dispatch, "on_gpu", lambda gpu=gpu: gpu)
        ops.deform_conv2d(
            tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2]), tf.zeros([1, 2, 2, 18]), implementation="compiled"
        )
    assert used == ["_direct", "_by_columns"]


def test_channels_must_fit():
    with pytest.raises(ValueError, match="need 18 offset channels, not 9"):
        ops.deform_conv2d(tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2]), tf.ones([1, 2, 2, 9]))
    with pytest.raises(ValueError, match="groups=2"):
        ops.deform_conv2d(tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 2, 2]), tf.ones([1, 2, 2, 18]), groups=2)
