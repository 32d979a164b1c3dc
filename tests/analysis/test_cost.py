"""Multiply-adds, counted by hand on small graphs, and against what is published of whole detectors."""

import json
import pathlib

import pytest
import tensorflow as tf

from kdet import cli
from kdet.analysis import cost
from kdet.config import Config

FOUND = pathlib.Path(__file__).parents[2] / "verification" / "results" / "flops.json"


def counted(function, *shapes):
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return cost.count(tf.function(function, autograph=False).get_concrete_function(*specs))


@pytest.mark.parametrize(
    ("function", "shapes", "multiply_adds", "activations"),
    [
        (lambda x, k: tf.nn.conv2d(x, k, 2, "SAME"), [[1, 8, 6, 4], [3, 3, 4, 5]], 4 * 3 * 5 * 36, 60),
        # in two groups
        (lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), [[1, 8, 6, 4], [3, 3, 2, 6]], 48 * 6 * 18, 288),
        (lambda x, k: tf.nn.depthwise_conv2d(x, k, [1] * 4, "SAME"), [[1, 4, 4, 3], [3, 3, 3, 1]], 432, 48),
        (
            lambda x, k: tf.nn.conv2d_transpose(x, k, [1, 8, 6, 5], 2, "SAME"),
            [[1, 4, 3, 2], [2, 2, 5, 2]], 12 * 2 * 20, 240,
        ),
        (lambda a, b: a @ b, [[7, 3], [3, 5]], 105, 35),
        (lambda a, b: tf.matmul(a, b, transpose_a=True, transpose_b=True), [[2, 3, 7], [2, 5, 3]], 210, 70),
        (lambda a, b: tf.einsum("bqc,bkc->bqk", a, b), [[2, 7, 3], [2, 5, 3]], 210, 70),
        (lambda a, b: a + b, [[3], [3]], 0, 0),
    ],
)  # fmt: skip
def test_multiply_adds(function, shapes, multiply_adds, activations):
    found = counted(function, *shapes)
    assert (found.multiply_adds, found.activations) == (multiply_adds, activations)


def test_functions_inside_are_counted_and_loops_are_told():
    inner = tf.function(lambda a, b: tf.nn.relu(a @ b))
    assert counted(lambda a, b: inner(a, b) + inner(a, b), [2, 3], [3, 4]).multiply_adds == 48

    def looped(a, b):
        return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ b), (0, a))[1]

    found = counted(looped, [2, 3], [3, 3])
    assert (found.multiply_adds, found.in_loops) == (18, 1)


def test_a_detector_costs_what_is_published():
    found = cost.cost(Config.load("retinanet_r50_fpn_1x").build("model"))
    assert found.multiply_adds / 1e9 == pytest.approx(239.32, rel=0.01)  # MMDetection's documentation
    assert found.parameters / 1e6 == pytest.approx(37.97, abs=0.01)
    assert sum(found.by_part.values()) == found.multiply_adds and found.flops == 2 * found.multiply_adds
    assert "238.5 G multiply-adds" in "\n".join(found.lines())


def test_models_cost_what_is_published():
    rows = json.loads(FOUND.read_text())
    assert len(rows) >= 9
    for name, row in rows.items():
        assert row["counted"] == pytest.approx(row["published"], rel=row["tolerance"]), name


def test_the_command(capsys):
    assert cli.main(["zoo", "info", "retinanet_r18_fpn_1x", "--flops", "--size", "64x96"]) == 0
    text = capsys.readouterr().out
    assert "input         64x96 (h x w)" in text and "multiply-adds" in text and "activations" in text
    assert cli.main(["zoo", "info", "retinanet_r18_fpn_1x", "--flops", "--size", "64"]) == 2
    assert "--size 64: write HEIGHTxWIDTH" in capsys.readouterr().err
