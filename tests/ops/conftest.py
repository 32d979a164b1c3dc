import pathlib

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "ops"


@pytest.fixture
def golden():
    """Reads the recorded cases of one reference op: ``golden(name) -> {array name: array}``."""
    return lambda name: dict(np.load(FOLDER / f"{name}.npz"))
