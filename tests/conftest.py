"""Tests compute in float32 and draw the same random numbers, in whatever order and wherever they run."""

import ctypes
import gc
import os
import pathlib
import sys
import time
import weakref

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework import func_graph, registry

# a program of XLA runs once or twice here: what LLVM takes to make it quick is not won back
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# nor is what Grappler takes to make a graph quick (processes that tests start have it)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
# GPUs round products of float32 to ten bits unless they are told not to
tf.config.experimental.enable_tensor_float_32_execution(False)

TESTS = pathlib.Path(__file__).resolve().parent


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the weights drawn in tests; others find lucky tests"
    )


def pytest_runtest_setup(item):
    # a hook, for it comes before the fixtures of modules and sessions too
    keras.utils.set_random_seed(item.config.getoption("seed"))


# The longest files: processes begin with them, or one would still be at work when all others are done.
LONGEST = (
    "verification/test_small_goldens.py",
    "verification/test_contract.py",
    "export/test_saved_model.py",
    "verification/test_steps.py",
    "detectors/test_xla.py",
    "train/test_engine_runs.py",
)


def pytest_collection_modifyitems(items):
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    # what has been imported stays: garbage is looked for in what tests make
    gc.collect()
    gc.freeze()


def _give_back_memory():
    """Frees models and graphs, which hang together in circles that Python alone would leave for minutes."""
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):  # glibc keeps what is freed
        ctypes.CDLL(None).malloc_trim(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.monotonic()
    done = yield
    if time.monotonic() - start > 1 or nextitem is None or nextitem.path != item.path:
        _give_back_memory()
    return done


_register = registry.Registry.register


def _register_for_a_graph(self, candidate, name=None):
    """Registers the gradient of a ``tf.custom_gradient`` for as long as its graph lives.

    TensorFlow itself keeps it, and with it the graph, until the process ends: gigabytes of them.
    """
    if str(name).startswith("CustomGradient-"):
        graph = tf.compat.v1.get_default_graph()
        while isinstance(graph, func_graph.FuncGraph):  # a loop's body may be made again by the graph around
            graph.custom_gradients = [*getattr(graph, "custom_gradients", ()), candidate]
            graph = graph.outer_graph
        reference = weakref.ref(candidate)

        def candidate(op, *upstream):
            return reference()(op, *upstream)

    _register(self, candidate, name)


registry.Registry.register = _register_for_a_graph


@pytest.fixture(scope="module")
def with_grappler():
    """Graphs are rewritten before they run, as a user's are; most tests spare the time."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture
def refused(capsys):
    """Runs a command that has to end with exit code 2 and without a stack; gives what it says."""

    def run(main, arguments):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error, error
        return error

    return run
