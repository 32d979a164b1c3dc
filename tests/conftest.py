"""Tests compute in float32 and draw the same random numbers, in whatever order and wherever they run."""

import keras
import pytest
import tensorflow as tf

# GPUs round products of float32 to ten bits unless they are told not to
tf.config.experimental.enable_tensor_float_32_execution(False)


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the weights drawn in tests; others find lucky tests"
    )


def pytest_runtest_setup(item):
    # a hook, for it comes before the fixtures of modules and sessions too
    keras.utils.set_random_seed(item.config.getoption("seed"))


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
