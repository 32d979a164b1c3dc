"""kdet's own ops as ops of ONNX give what the portable forms give."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.export import ExportError
from kdet.export.nodes import Converter
from kdet.export.onnx import Runner

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

random = np.random.default_rng(0)
MAPS = [random.normal(size=(2, side, side + 2, 4)).astype(np.float32) for side in (16, 8)]


def boxes(count, low=-20.0, high=80.0):
    centers, sizes = random.uniform(low, high, (2, count, 2)), random.uniform(1, 50, (2, count, 2))
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], -1).astype(np.float32)


def assert_same(function, kind, *arrays, tolerance=1e-5):
    """Compares a function in TensorFlow and in ONNX Runtime, which must have ``kind`` and no loop."""
    specs = [tf.TensorSpec(array.shape, array.dtype, name=f"x{k}") for k, array in enumerate(arrays)]

    def named(*tensors):
        with ops.use("portable"), ops.marks.marking():
            return {f"y{k}": y for k, y in enumerate(tf.nest.flatten(function(*tensors)))}

    traced = tf.function(named, input_signature=specs, autograph=False).get_concrete_function()
    model = Converter().model(traced, "test", [spec.name for spec in specs], {})
    kinds = {node.op_type for node in model.graph.node}
    assert kind in kinds and not kinds & {"Loop", "If"}
    try:
        session = Runner(model).session
    except ExportError as error:
        if "DeformConv" in str(error):
            pytest.skip(f"ONNX Runtime {runtime.__version__} has no DeformConv")
        raise
    got = session.run(None, {spec.name: array for spec, array in zip(specs, arrays)})
    wanted = [value.numpy() for _, value in sorted(traced(*map(tf.constant, arrays)).items())]
    for ours, theirs in zip(wanted, got, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=tolerance)
    return wanted


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_regions_of_a_pyramid(aligned, sampling_ratio):
    given = boxes(30)
    given[:, :3] = 0.0  # padding
    given[:, 3] = [5.0, 5.0, 5.0, 30.0]
    levels = random.integers(0, 2, (2, 30)).astype(np.int32)

    def pool(first, second, rois, levels):
        maps = [first, second]
        return ops.multilevel_roi_align(maps, rois, levels, (3, 2), [4, 8], sampling_ratio, aligned)

    (pooled,) = assert_same(pool, "RoiAlign", *MAPS, given, levels)
    if aligned and not sampling_ratio:
        assert (pooled[:, :4] == 0.0).all() and np.abs(pooled[:, 4:]).max() > 0.5


def test_regions_of_one_map():
    assert_same(lambda maps, rois: ops.roi_align(maps, rois, 4, 0.25), "RoiAlign", MAPS[0], boxes(9))


@pytest.mark.parametrize("with_offsets", [True, False])
def test_deformable_regions(with_offsets):
    offsets = random.normal(size=(2, 12, 3, 3, 2)).astype(np.float32)
    levels = random.integers(0, 2, (2, 12)).astype(np.int32)

    def pool(first, second, rois, levels, offsets):
        moved = offsets if with_offsets else None
        return ops.deform_roi_pool([first, second], rois, levels, moved, 3, [4, 8], gamma=0.1)

    assert_same(pool, "RoiAlign", *MAPS, boxes(12), levels, offsets)


@pytest.mark.parametrize("groups, deform_groups, masked", [(1, 1, False), (2, 4, True)])
def test_deformable_convolution(groups, deform_groups, masked):
    x = random.normal(size=(2, 9, 11, 8)).astype(np.float32)
    kernel = random.normal(size=(3, 3, 8 // groups, 6)).astype(np.float32)
    offsets = random.normal(size=(2, 5, 6, 18 * deform_groups), scale=3.0).astype(np.float32)
    mask = random.uniform(size=(2, 5, 6, 9 * deform_groups)).astype(np.float32)

    def convolve(x, offsets, mask):
        return ops.deform_conv2d(
            x, kernel, offsets, mask if masked else None, strides=2, padding=1,
            groups=groups, deform_groups=deform_groups,
        )  # fmt: skip

    assert_same(convolve, "DeformConv", x, offsets, mask, tolerance=1e-4)


def test_attention_at_points():
    value = random.normal(size=(2, 8 * 6 + 4 * 3, 2, 4)).astype(np.float32)
    places = random.uniform(-0.2, 1.2, (2, 7, 2, 2, 3, 2)).astype(np.float32)
    weights = random.uniform(size=(2, 7, 2, 2, 3)).astype(np.float32)

    def attend(value, places, weights):
        return ops.ms_deform_attn(value, [(8, 6), (4, 3)], places, weights)

    assert_same(attend, "GridSample", value, places, weights)


@pytest.mark.parametrize("align_corners", [False, True])
def test_points_of_maps(align_corners):
    points = random.uniform(-0.2, 1.2, (2, 9, 2)).astype(np.float32)
    assert_same(lambda x, p: ops.point_sample(x, p, align_corners), "GridSample", MAPS[0], points)


@pytest.mark.parametrize("count, max_output", [(60, 20), (15, 40)])
@pytest.mark.parametrize("labelled", [True, False])
def test_suppression(labelled, count, max_output):
    given, labels = boxes(count), random.integers(0, 3, (2, count)).astype(np.int32)
    scores = np.round(random.uniform(size=(2, count)), 1).astype(np.float32)  # many are equal
    scores[0, :4] = [np.nan, -np.inf, 0.05, 0.1]
    given[1, 3] = given[1, 7]  # the same box
    given[1, 5, 2:] = given[1, 5, :2]  # no area
    given[1, 6] = given[1, 6, [2, 3, 0, 1]]  # inside out

    def suppress(given, scores, labels):
        return ops.nms(
            given, scores, labels if labelled else None, iou_threshold=0.3, max_output=max_output,
            score_threshold=0.1,
        )  # fmt: skip

    _, kept = assert_same(suppress, "NonMaxSuppression", given, scores, labels)
    assert kept.min() > 5


def test_suppression_of_nothing():
    def suppress(given, scores):
        return ops.nms(given, scores, iou_threshold=0.3, max_output=5, score_threshold=2.0)

    indices, kept = assert_same(suppress, "NonMaxSuppression", boxes(6), np.ones([2, 6], np.float32))
    assert not indices.any() and not kept.any()
