"""Some objects at a time: the same assignments as with all at once, and no table of all pairs."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import assigners
from kdet.assigners import blocks

SIZES = [(12, 16), (6, 8)]  # cells of two levels
STRIDES, SIDE = (8, 16), 128
COUNTS = [h * w for h, w in SIZES]
PRIORS = sum(COUNTS)
CLASSES, BATCH = 3, 2


def cells():
    """Anchors ``[P,4]`` and points ``[P,3]`` of both levels."""
    points = np.float32(
        [
            [(x + 0.5) * stride, (y + 0.5) * stride, stride]
            for stride, (h, w) in zip(STRIDES, SIZES, strict=True)
            for y in range(h)
            for x in range(w)
        ]
    )
    return np.concatenate([points[:, :2] - points[:, 2:], points[:, :2] + points[:, 2:]], 1), points


ANCHORS, POINTS = cells()
ALL = tf.ones([BATCH, PRIORS], tf.bool)
LEVELS = {"strides": STRIDES, "shapes": SIZES, "base_size": tf.constant(16.0)}
random = np.random.default_rng(0)
BOXES = {"predictions": tf.constant(ANCHORS + random.normal(0, 4, (BATCH, PRIORS, 4)), tf.float32)}
FOUND = {**BOXES, "scores": tf.constant(random.uniform(0.01, 0.99, (BATCH, PRIORS, CLASSES)), tf.float32)}
# (class, arguments, priors, further arguments of the call)
CASES = {
    "max IoU": ("MaxIoUAssigner", {"pos_iou": 0.5, "neg_iou": 0.4, "ignore_iof": 0.5}, ANCHORS, {}),
    "first of ties": (
        "MaxIoUAssigner",
        {"pos_iou": 0.5, "neg_iou": 0.4, "gt_max_assign_all": False},
        ANCHORS,
        {},
    ),
    "ATSS": ("ATSSAssigner", {"topk": 5}, ANCHORS, {"level_sizes": COUNTS}),
    "DDOD": ("ATSSAssigner", {"topk": 5, "alpha": 0.8}, ANCHORS, {"level_sizes": COUNTS, **FOUND}),
    "soft labels": ("DynamicSoftLabelAssigner", {}, POINTS, FOUND),
    "grid": ("GridAssigner", {"pos_iou": 0.3}, ANCHORS, {"valid": ALL}),
    "nearest points": ("NearestPointAssigner", {"num_positive": 3}, POINTS, {}),
    "points in boxes": (
        "PointInBoxAssigner",
        {"strides": STRIDES, "regress_ranges": [(0, 24), (24, 999)], "center_radius": 1.5},
        POINTS,
        {},
    ),
    "region": (
        "RegionAssigner",
        {"center_ratio": 0.6, "ignore_neighbors": True},
        ANCHORS,
        {"valid": ALL, **LEVELS},
    ),
    "SimOTA": ("SimOTAAssigner", {}, POINTS, FOUND),
    "task-aligned": ("TaskAlignedAssigner", {}, ANCHORS, FOUND),
    "uniform": ("UniformAssigner", {}, ANCHORS, BOXES),
}
WITH_TABLES = ("uniform",)  # torch.topk's order of ties needs all distances at once


def targets(objects, room):
    """``objects`` of them in the first image, some less in the second, in ``room`` rows."""
    source = np.random.default_rng(objects)
    corner = source.uniform(0, SIDE - 40, (BATCH, room, 2))
    boxes = np.concatenate([corner, corner + source.uniform(6, 60, (BATCH, room, 2))], -1)
    real = np.arange(room) < np.array([[objects], [objects * 2 // 3]])
    real[:, 1:2] = False  # padding in between, as transforms may leave it
    labels = np.where(real, source.integers(0, CLASSES, (BATCH, room)), -1)
    return {
        "boxes": tf.constant(np.where(real[..., None], boxes, 0.0), tf.float32),
        "labels": tf.constant(labels, tf.int32),
    }


def traced(case, room=None):
    """The assigner as a function of boxes and labels, by default of any number of objects."""
    name, arguments, priors, others = CASES[case]
    assigner = getattr(assigners, name)(**arguments)

    @tf.function(autograph=False)
    def assign(boxes, labels):
        return assigner(tf.constant(priors), {"boxes": boxes, "labels": labels}, **others)

    return assign.get_concrete_function(
        tf.TensorSpec([BATCH, room, 4]), tf.TensorSpec([BATCH, room], tf.int32)
    )


@pytest.mark.parametrize("case", CASES)
def test_blocks_change_nothing(case, monkeypatch):
    assign = {}
    for block in (3, 64):
        monkeypatch.setattr(blocks, "BLOCK", block)
        assign[block] = traced(case)
    positives = 0
    for objects, room in ((0, 0), (0, 5), (1, 1), (9, 9), (20, 32)):
        wanted, found = (assign[block](**targets(objects, room)) for block in (64, 3))
        for ours, theirs in zip(found, wanted, strict=True):
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
        positives += int(tf.reduce_sum(tf.cast(found.gt_index >= 0, tf.int32)))
    assert positives > 10


def largest_tensor(case, objects):
    """Numbers of the largest tensor of known shape in the assigner's graph."""
    graph = traced(case, objects).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    shapes = [tf.TensorShape(shape) for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    return max(shape.num_elements() or 0 for shape in shapes)


@pytest.mark.parametrize("case", [case for case in CASES if case not in WITH_TABLES])
def test_no_table_of_all_objects_and_priors(case, monkeypatch):
    pairs = BATCH * 160 * PRIORS
    monkeypatch.setattr(blocks, "BLOCK", 160)
    assert largest_tensor(case, 160) >= pairs
    monkeypatch.setattr(blocks, "BLOCK", 4)
    assert largest_tensor(case, 160) < pairs / 8
