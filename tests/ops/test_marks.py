"""Marks say what a function of a trace computes, and change nothing of it."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import compat, ops
from kdet.ops import marks

random = np.random.default_rng(0)
MAPS = random.normal(size=(1, 8, 8, 4)).astype(np.float32)
BOXES = np.float32([[[0, 0, 20, 20], [4, 4, 30, 28], [1, 1, 20, 21]]])


def traced(function):
    """``ConcreteFunction`` of a function, with marks."""
    with ops.use("portable"), marks.marking():
        return tf.function(function, autograph=False).get_concrete_function()


def marks_in(graph):
    calls = [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    return [mark for op in calls if (mark := marks.mark_of(compat.called_function(op, "f")[1]))]


OPS = {
    "roi_align": lambda: ops.roi_align(MAPS, BOXES, 2, 0.25),
    "deform_roi_pool": lambda: ops.deform_roi_pool([MAPS], BOXES, tf.zeros([1, 3], tf.int32), None, 2, [4]),
    "deform_conv2d": lambda: ops.deform_conv2d(MAPS, np.ones([1, 1, 4, 2], np.float32), MAPS[..., :2]),
    "ms_deform_attn": lambda: ops.ms_deform_attn(
        tf.reshape(MAPS, [1, 64, 2, 2]), [(8, 8)], tf.fill([1, 5, 2, 1, 3, 2], 0.4), tf.ones([1, 5, 2, 1, 3])
    ),
    "point_sample": lambda: ops.point_sample(MAPS, [[[0.3, 0.6]]]),
    "nms": lambda: ops.nms(BOXES, [[0.3, 0.9, 0.5]], iou_threshold=0.5, max_output=2),
}


@pytest.mark.parametrize("name", OPS)
def test_marked_ops_compute_the_same(name):
    function = traced(OPS[name])
    assert [mark.name for mark in marks_in(function.graph)] == [name]
    with ops.use("portable"):
        wanted = OPS[name]()
    for ours, theirs in zip(tf.nest.flatten(wanted), tf.nest.flatten(function()), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_a_mark_holds_arguments_and_attributes():
    (mark,) = marks_in(traced(OPS["roi_align"]).graph)
    assert mark.filled(["maps", "boxes", "levels"]) == [["maps"], "boxes", "levels"]
    assert mark.attributes == {"output_size": [2, 2], "scales": [0.25], "sampling_ratio": 0, "aligned": True}


def test_nothing_is_marked_outside():
    with ops.use("portable"):
        function = tf.function(OPS["nms"], autograph=False).get_concrete_function()
    assert marks_in(function.graph) == []


@pytest.mark.parametrize("implements", [b"", b"lstm", b"[1]", b'{"name": "lstm"}'])
def test_what_others_say_of_their_functions_is_no_mark(implements):
    assert marks.mark_of(implements) is None
