import contextlib
import pathlib

import numpy as np
import pytest

from kdet import ops
from kdet.ops import compiled, processor

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "ops"


@pytest.fixture
def golden():
    """Reads the recorded cases of one reference op: ``golden(name) -> {array name: array}``."""
    return lambda name: dict(np.load(FOLDER / f"{name}.npz"))


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """Numbers of the reference are compared with the kernels of every instruction set."""
    if "form" in metafunc.fixturenames and "golden" in metafunc.fixturenames:
        forms = ["portable", *processor.CPUS]
        metafunc.definition.add_marker(pytest.mark.parametrize("form", forms, indirect=True))


@pytest.fixture(params=["portable", "compiled"])
def form(request):
    """Runs a test with the portable and the compiled ops; a parameter may name an instruction set too."""
    if request.param == "portable":
        with ops.use("portable"):
            yield "portable"
    else:
        best = request.param == "compiled" and processor.cpus()
        with _kernels(best[-1] if best else request.param), ops.use("compiled"):
            yield "compiled"


@pytest.fixture(params=processor.CPUS)
def cpu(request):
    """Runs a test of compiled ops with the kernels of every instruction set."""
    with _kernels(request.param):
        yield request.param


@contextlib.contextmanager
def _kernels(cpu):
    if compiled.why_not():
        pytest.skip(compiled.why_not())
    if cpu not in processor.cpus():
        pytest.skip(f"this processor has no {cpu}")
    with processor.use_cpu(cpu):
        yield


@pytest.fixture
def portable():
    """Runs a test with the portable ops: XLA has no others."""
    with ops.use("portable"):
        yield
