"""What holds for every op: forms, float types, eager, graphs, XLA, strategies, empty batches, NaN."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled, dispatch, processor
from tests.ops.cases import BOXES, CANDIDATES, CASES, TOLERANCE, outputs_and_gradients, tensors_of

every_op = pytest.mark.parametrize("name", CASES)
every_op_and_type = pytest.mark.parametrize(
    "name,dtype",
    [
        pytest.param(name, dtype, id=f"{name}-{dtype.name}")
        for name, case in CASES.items()
        for dtype in TOLERANCE
        if case.half or dtype == tf.float32
    ],
)


def assert_near(found, expected, tolerance=1e-5):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = (np.asarray(tf.cast(v, tf.float32)) for v in (a, b))
        assert np.isfinite(b).all()
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max(initial=0)), err_msg=str(k)
        )


@pytest.mark.parametrize("form", ["portable", *processor.CPUS], indirect=True)
@every_op_and_type
def test_forms_and_types_agree(form, name, dtype):
    case = CASES[name]
    tensors = tensors_of(case, dtype)
    # The exact answer for the rounded inputs.
    with ops.use("portable"):
        expected = outputs_and_gradients(case, [tf.cast(t, tf.float32) for t in tensors])
    found = outputs_and_gradients(case, tensors)
    if case.differentiable:
        assert [v.dtype for v in found] == [dtype, *(t.dtype for t in tensors)]
    assert_near(found, expected, TOLERANCE[dtype])


@every_op
def test_graph_with_unknown_sizes(form, name):
    case, tensors = CASES[name], tensors_of(CASES[name])
    unknown = slice(1, 3) if form == "compiled" else slice(0)  # portable forms may need the maps' sizes
    signature = []
    for k, tensor in enumerate(tensors):
        shape = list(tensor.shape)
        if k in case.batched:
            shape[0] = None
            # the heads of attention, its third axis, are known
            if tensor.shape.rank == 4 and k in case.rounded and name != "ms_deform_attn":
                shape[unknown] = [None] * len(shape[unknown])
        signature.append(tf.TensorSpec(shape))
    graph = tf.function(lambda *t: outputs_and_gradients(case, list(t)), input_signature=signature)
    assert_near(graph(*tensors), outputs_and_gradients(case, tensors))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.xla])
def test_xla(portable, name):
    case, tensors = CASES[name], tensors_of(CASES[name])
    graph = tf.function(lambda *t: outputs_and_gradients(case, list(t)), jit_compile=True)
    assert_near(graph(*tensors), outputs_and_gradients(case, tensors), 2e-5)


def test_mirrored_strategy(form):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    for name, case in CASES.items():
        with strategy.scope():
            variables = [tf.Variable(t) for t in tensors_of(case)]
        step = tf.function(lambda c=case, v=variables: outputs_and_gradients(c, [tf.identity(t) for t in v]))
        assert_near(strategy.run(step), outputs_and_gradients(case, tensors_of(case)))
        assert name in CASES


class EveryOp(tf.Module):
    @tf.function(input_signature=[])
    def __call__(self):
        return {name: tf.nest.flatten(case.call(*tensors_of(case))) for name, case in CASES.items()}


def test_saved_model_round_trip(form, tmp_path):
    module = EveryOp()
    expected = module()
    tf.saved_model.save(module, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path))()
    for name, values in expected.items():
        for a, b in zip(found[name], values, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    used = {node.op for node in saved_nodes(tmp_path) if node.op.startswith("Kdet")}
    # two cases are RoIAlign, point_sample is deformable attention; a table chooses the grouped convolution
    chosen = {"KdetGroupedConv"}
    assert len(used - chosen) == (len(CASES) - 3 if form == "compiled" else 0), sorted(used)


def saved_nodes(path):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            yield from function.node_def


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.batched])
def test_empty_batch(form, name):
    check_empty_batch(name, outputs_and_gradients)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.batched and case.xla])
def test_empty_batch_under_xla(portable, name):
    check_empty_batch(
        name, lambda case, t: tf.function(lambda: outputs_and_gradients(case, t), jit_compile=True)()
    )


def check_empty_batch(name, run):
    case = CASES[name]
    tensors = [t[:0] if k in case.batched else t for k, t in enumerate(tensors_of(case))]
    found = run(case, tensors)
    assert found[0].shape[0] == 0
    for tensor, gradient in zip(tensors, found[1:] if case.differentiable else []):
        assert gradient.shape == tensor.shape and not np.any(gradient)


def skip_where_tensorflow_convolves(form, name):
    """TensorFlow's convolution of a batch that turns out to be empty has another shape, or no gradient."""
    if name == "conv3x3" or (form == "portable" and name in ("grouped_conv2d", "masked_conv2d")):
        pytest.skip("TensorFlow's convolutions need images")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.batched])
def test_batch_that_turns_out_to_be_empty(form, name):
    skip_where_tensorflow_convolves(form, name)
    check_empty_batch(name, lambda case, t: graph_of_unknown(case, 0, case.batched)(*t))


def graph_of_unknown(case, axis, which):
    """An op, its gradients too, as a graph that does not know the size of an axis of some tensors."""
    shapes = [list(t.shape) for t in tensors_of(case)]
    for k in which:
        shapes[k][axis] = None
    return tf.function(
        lambda *t: outputs_and_gradients(case, list(t)), input_signature=[tf.TensorSpec(s) for s in shapes]
    )


BOXES_OF = {"roi_align": (2,), "roi_align_legacy": (1,), "deform_roi_pool": (1, 2), "crop_masks": (0,)}
BOXES_OF |= {"paste_masks": (0, 1), "nms": (0, 1), "soft_nms": (0, 1), "fast_nms": (0, 1)}


@pytest.mark.parametrize("name", BOXES_OF)
def test_boxes_that_turn_out_to_be_none(form, name):
    if (form, name) == ("portable", "fast_nms") and dispatch.has_gpu():
        pytest.skip("TensorFlow's top_k of nothing fails on GPUs")
    case = CASES[name]
    tensors = [t[:, :0] if k in BOXES_OF[name] else t for k, t in enumerate(tensors_of(case))]
    found = graph_of_unknown(case, 1, BOXES_OF[name])(*tensors)
    assert_near(found, outputs_and_gradients(case, tensors))
    assert not any(np.any(value) for value in found)


@pytest.mark.parametrize("name", BOXES_OF)
def test_no_boxes_under_xla(portable, name):
    case = CASES[name]
    tensors = [t[:, :0] if k in BOXES_OF[name] else t for k, t in enumerate(tensors_of(case))]
    found = tf.function(lambda: outputs_and_gradients(case, tensors), jit_compile=True)()
    assert_near(found, outputs_and_gradients(case, tensors))
    assert not any(np.any(value) for value in found)


# without boxes, and without batch norm, which mixes the images
BY_IMAGE = [
    name
    for name, case in CASES.items()
    if case.differentiable and case.half and "roi" not in name and name != "batch_norm"
]


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("name", BY_IMAGE)
def test_nan_of_one_image_stays_there(form, name, image):
    """Forwards, and backwards to what every image has of its own."""
    case = CASES[name]

    def output_and_gradients(arrays, of_image):
        tensors = [tf.constant(a) for a in arrays]
        own = [tensors[k] for k in case.batched]
        with tf.GradientTape() as tape:
            tape.watch(own)
            out = case.call(*tensors)
        upstream = np.ones(out.shape, np.float32)
        upstream[image] = of_image
        return out, *tape.gradient(out, own, tf.constant(upstream))

    poisoned = [t.copy() for t in case.tensors]
    for k in case.batched:
        poisoned[k][image].fill(np.nan)
    found, expected = output_and_gradients(poisoned, np.nan), output_and_gradients(case.tensors, 1.0)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a[1 - image], b[1 - image], atol=1e-5)
    assert np.isnan(found[0][image]).any()


def test_boxes_of_the_cases_are_odd_enough():
    sides = BOXES[..., 2:] - BOXES[..., :2]
    assert (sides == 0).any() and (sides < 0).any() and (sides > 1e7).any()
    assert CANDIDATES.shape == (2, 40, 4)


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
def test_every_op_of_the_library_is_listed():
    names = {
        name for name in dir(compiled.library()) if name.startswith("kdet_") and not name.endswith("fallback")
    }
    listed = {name.removesuffix("_grad") for name in compiled.OPS}
    assert {n.removesuffix("_grad") for n in names if not n.endswith(("_grad_eager", "_eager"))} >= listed
