"""Every test draws the same random numbers wherever and in whatever order it runs."""

import keras


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the weights drawn in tests; others find lucky tests"
    )


def pytest_runtest_setup(item):
    # a hook, for it comes before the fixtures of modules and sessions too
    keras.utils.set_random_seed(item.config.getoption("seed"))
