"""A process that ends with open iterators of the input pipeline does end, whatever way it goes."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from kdet import compat

SCRIPT = pathlib.Path(__file__).with_name("run_exit.py")
ROOT = SCRIPT.parents[2]
ANNOTATIONS = ROOT / "tests" / "assets" / "data" / "coco.json"
# its exit status and the end of what it says
WAYS = {
    "fit": (0, ""),
    "exception": (1, "ValueError: as wanted"),
    "interrupt": (-signal.SIGINT, "KeyboardInterrupt"),
    "console": (0, ""),
}


def start(way):
    console = ["-i", "-q"] if way == "console" else []  # a session that is left by the end of its input
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, *console, str(SCRIPT), str(ANNOTATIONS), way],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def processes():
    """All ways at once: each of them imports TensorFlow for seconds."""
    started = {way: start(way) for way in WAYS}
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("way", WAYS)
def test_a_process_with_open_iterators_ends(processes, way):
    process = processes[way]
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    _, said = process.communicate(timeout=60)  # without the mend: never
    status, last = WAYS[way]
    assert process.returncode == status, said
    assert last in said.splitlines()[-1:] or last == ""


def test_iterators_are_closed_and_counted():
    compat.close_iterators()
    dataset = tf.data.Dataset.range(3)
    one, other = iter(dataset), iter(dataset.map(lambda x: x + 1))
    assert [int(next(one)), int(next(other))] == [0, 1]
    assert compat.close_iterators() == 2
    assert compat.close_iterators() == 0
    assert [int(x) for x in dataset] == [0, 1, 2]  # new ones can be made
