import pathlib

import numpy as np
import pytest

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
        "format": "coco",
        "annotations": str(assets / "coco.json"),
        "images": str(assets),
        "classes": ["cat", "dog"],
        "masks": True,
        "filter_empty": False,
        "resize": {"sizes": [[133, 80]]},
        "flip": 0,
    }
