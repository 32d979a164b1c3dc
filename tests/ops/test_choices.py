"""The table that the forms of ops are chosen by, and what measures it."""

import csv
import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import bench, choices, compiled, dispatch, processor
from kdet.ops.conv3x3 import CHANNELS, PIXELS
from kdet.ops.grouped_conv import COMPILED_WIDTHS

needs_library = pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))


def rows():
    with choices.TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cpu", processor.CPUS)
def test_every_class_of_every_op_was_measured(cpu):
    found = {(row["op"], row["kind"]) for row in rows() if row["cpu"] == cpu}
    convolutions = {f"{pixels} pixels {channels} channels" for pixels in PIXELS for channels in CHANNELS}
    assert {kind for op, kind in found if op == "conv3x3"} == convolutions
    groups = {f"{how} {width}" for how in ("plain", "other") for width in COMPILED_WIDTHS}
    assert {kind for op, kind in found if op == "grouped_conv2d"} == groups
    texts = [path.read_text() for path in choices.TABLE.parent.glob("*.py")]
    chosen = {name for text in texts for name in re.findall(r'dispatch\.choose\(\s*"(\w+)"', text)}
    assert {op for op, _ in found} == chosen


def test_ratios_are_numbers_of_one_each():
    keys = [(row["cpu"], row["op"], row["kind"]) for row in rows()]
    assert len(keys) == len(set(keys))
    assert all(float(row["ratio"]) > 0 for row in rows())


@pytest.fixture
def measured(monkeypatch):
    """A table of two ops, with the first instruction set in force."""
    values = {("baseline", "conv3x3", "1024 pixels 64 channels"): 0.5, ("baseline", "corner_pool", ""): 1.2}
    monkeypatch.setattr(choices, "_table", lambda: values)
    monkeypatch.setattr(processor, "cpu", lambda: "baseline")
    return values


def test_what_pays_and_what_loses(measured):
    assert choices.pays("conv3x3", "1024 pixels 64 channels")
    assert not choices.pays("conv3x3", "4096 pixels 64 channels")  # nobody knows
    assert choices.loses("corner_pool")
    assert not choices.loses("corner_pool", "avx2")
    assert not choices.loses("nms")  # nobody knows
    measured["baseline", "conv3x3", "1024 pixels 64 channels"] = 0.96
    assert not choices.pays("conv3x3", "1024 pixels 64 channels")


@needs_library
def test_an_op_that_loses_is_portable(measured, monkeypatch):
    monkeypatch.setattr(dispatch, "_misses_the_gpu", lambda name: False)
    with ops.use("auto"):
        assert dispatch.choose("corner_pool", None, portable="slow", compiled_form="fast") == "slow"
        assert dispatch.choose("nms", None, portable="slow", compiled_form="fast") == "fast"
    with ops.use("compiled"):
        assert dispatch.choose("corner_pool", None, portable="slow", compiled_form="fast") == "fast"


@needs_library
@pytest.mark.parametrize("share, op", [(0.5, "KdetConv3x3"), (1.5, "Conv2D")])
def test_conv3x3_asks_the_table(measured, share, op):
    measured["baseline", "conv3x3", "1024 pixels 64 channels"] = share

    @tf.function
    def convolve(x):
        with ops.use("auto"):
            return ops.conv3x3(x, tf.zeros([3, 3, 64, 70]), tf.zeros([70]))

    found = {
        node.type for node in convolve.get_concrete_function(tf.zeros([1, 32, 40, 64])).graph.get_operations()
    }
    assert op in found and len({"KdetConv3x3", "Conv2D"} & found) == 1


@pytest.mark.parametrize("value, least", [(1023, 0), (1024, 1024), (4095, 1024), (10**6, 4096)])
def test_steps(value, least):
    assert choices.step(value, PIXELS) == least


def test_the_worst_of_a_class_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "TABLE", tmp_path / "choices.csv")
    old = bench.Timing("avx2", "nms", "", "few boxes", 1.0, 4.0)
    bench.write([old, bench.Timing("avx2", "carafe", "", "a map", 1.0, 2.0)])
    bench.write([bench.Timing("avx2", "nms", "", f"{n} boxes", n, 4.0) for n in (2.0, 3.0, 1.0)])
    assert choices.TABLE.read_text().split() == ["cpu,op,kind,ratio", "avx2,carafe,,0.500", "avx2,nms,,0.750"]


@needs_library
def test_the_command_prints_a_table():
    command = [sys.executable, "-m", "kdet.ops.bench", "--ops", "corner_pool", "roi_align"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["op", "shape", "compiled", "TensorFlow", "share", "taken"]
    assert [line.split()[0] for line in lines[1:]] == ["corner_pool", "roi_align"]
    assert all(re.search(r"\d+\.\d+ +\d+\.\d+ +\d+\.\d+  \w+", line) for line in lines[1:])
