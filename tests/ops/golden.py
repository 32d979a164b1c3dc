"""Recorded cases of the reference's ops."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "ops"


def load(name):
    return dict(np.load(FOLDER / f"{name}.npz"))
