import pathlib

import numpy as np
import pytest

from tests.data.steps import steps

ASSETS = pathlib.Path(__file__).parent.parent / "assets" / "data"


@pytest.fixture
def assets():
    """The tiny COCO and VOC datasets (see make_reference.py there)."""
    return ASSETS


@pytest.fixture(scope="session")
def reference():
    """What the reference's pipeline delivers for them."""
    with np.load(ASSETS / "reference.npz") as file:
        return dict(file)


@pytest.fixture
def coco(assets):
    """A data section over the tiny COCO dataset: three images, one of them without objects."""
    return {
        "annotations": str(assets / "coco.json"),
        "images": str(assets),
        "classes": ["cat", "dog"],
        "masks": True,
        "filter_empty": False,
        "transforms": steps(Resize={"sizes": [[133, 80]]}),
    }
