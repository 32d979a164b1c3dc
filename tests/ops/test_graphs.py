"""Ops inside SavedModels and distribution strategies."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled

BOXES = tf.constant([[[0, 0, 20, 12], [4, 4, 30, 30]]], tf.float32)


class Pooled(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3])])
    def __call__(self, x):
        pooled = ops.roi_align(x, BOXES, 2, 0.5)
        indices, num = ops.nms(BOXES, [[0.5, 0.9]], iou_threshold=0.5, max_output=3)
        return {"pooled": pooled, "indices": indices, "num": num}


def test_saved_model_round_trip(form, tmp_path):
    x = tf.constant(np.random.RandomState(0).randn(1, 16, 20, 3), tf.float32)
    module = Pooled()
    expected = module(x)
    tf.saved_model.save(module, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path))(x)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    names = {node.op for node in saved_nodes(tmp_path)}
    assert any(name.startswith("Kdet") for name in names) == (form == "compiled")


def saved_nodes(path):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            yield from function.node_def


def test_gradients_under_a_mirrored_strategy(form):
    x = np.random.RandomState(0).randn(1, 16, 20, 3).astype("f")
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        variable = tf.Variable(x)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ops.roi_align(variable, BOXES, 2, 0.5) ** 2)
        return tape.gradient(loss, variable)

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ops.roi_align(variable, BOXES, 2, 0.5) ** 2)
    expected = tape.gradient(loss, variable)
    np.testing.assert_allclose(strategy.run(step), expected, atol=1e-6)


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
def test_compiled_shapes_with_unknown_sizes():
    with ops.use("compiled"):
        graph = tf.function(lambda x, b, n: ops.roi_align(x, b, (7, 5), 0.25)).get_concrete_function(
            tf.TensorSpec([None, None, None, 8]), tf.TensorSpec([None, 30, 4]), None
        )
        assert graph.output_shapes.as_list() == [None, 30, 7, 5, 8]


def zeros(*shape, dtype=tf.float32):
    return tf.zeros(shape, dtype)


BAD_CALLS = {
    "boxes must be|Dimensions must be equal": lambda lib: lib.kdet_nms(
        zeros(1, 2, 4), zeros(1, 3), zeros(1, 3, dtype=tf.int32), 1, 0.5, 0.0
    ),
    "gt_index 2 at flat index 0, but there are 2 masks": lambda lib: lib.kdet_crop_masks(
        zeros(1, 2, 4, 1, dtype=tf.uint8), zeros(1, 1, 4), [[2]], 2, 2
    ),
    "the levels have 4 pixels, but value has 5": lambda lib: lib.kdet_ms_deform_attn(
        zeros(1, 5, 1, 2), [[2, 2]], zeros(1, 1, 1, 1, 1, 2), zeros(1, 1, 1, 1, 1)
    ),
    "do not fit kernel_size 3": lambda lib: lib.kdet_carafe(zeros(1, 2, 2, 3), zeros(1, 4, 4, 8), 3, 1, 2),
    "offsets and mask must be": lambda lib: lib.kdet_deform_conv(
        zeros(1, 4, 4, 2), zeros(3, 3, 2, 2), zeros(1, 4, 4, 18), zeros(1, 4, 4, 9)
    ),
    "level 1 at flat index 0 is not in": lambda lib: lib.kdet_roi_align(
        [zeros(1, 4, 4, 2)], zeros(1, 1, 4), [[1]], 2, 2, [1.0], 0, True
    ),
}


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
@pytest.mark.parametrize("sentence", BAD_CALLS)
def test_compiled_ops_check_their_inputs(sentence):
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        BAD_CALLS[sentence](compiled.library())
