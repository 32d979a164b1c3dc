import pathlib

import numpy as np
import pytest

from kdet import ops
from kdet.ops import compiled

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "ops"


@pytest.fixture
def golden():
    """Reads the recorded cases of one reference op: ``golden(name) -> {array name: array}``."""
    return lambda name: dict(np.load(FOLDER / f"{name}.npz"))


@pytest.fixture(params=["portable", "compiled"])
def form(request):
    """Runs a test with the portable and with the compiled ops."""
    if request.param == "compiled" and compiled.why_not():
        pytest.skip(compiled.why_not())
    with ops.use(request.param):
        yield request.param


@pytest.fixture
def portable():
    """Runs a test with the portable ops: XLA has no others."""
    with ops.use("portable"):
        yield
