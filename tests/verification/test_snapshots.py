"""Small models of today's families compute what they computed when the large goldens passed."""

import numpy as np
import pytest

from verification import snapshots


@pytest.mark.parametrize("name", snapshots.NAMES)
def test_snapshot(name):
    with np.load(snapshots.FOLDER / f"{name}.npz") as file:
        wanted = dict(file)
    assert len(wanted["losses"]) and len(wanted["detections/0"])
    assert np.isfinite(wanted["gradients"]).mean() > 0.5
    assert snapshots.problems(wanted, snapshots.taken(snapshots.subject(name))) == []


def test_what_differs_is_named():
    wanted = {
        "detections/0": np.float32([[0, 0, 10, 10, 0.5, 1]]),
        "detections/1": np.zeros((0, 6), np.float32),
        "losses": np.float32([1.0, 2.0]),
        "gradients": np.float32([1.0, np.nan, 2.0]),
        "losses/room": np.float32([1e-4, 1e-4]),
        "gradients/room": np.float32([9.0, 1e-3, 1e-3]),
    }
    assert snapshots.problems(wanted, wanted) == []
    moved = {**wanted, "detections/0": np.float32([[0, 0, 10, 12, 0.5, 1]])}
    assert "1 of 1 detections" in snapshots.problems(wanted, moved)[0]
    assert snapshots.problems(wanted, {**wanted, "losses": np.float32([1.0, 2.001])}) == [
        "1 of the losses are off, the first is number 1"
    ]
    assert (
        "1 of the gradients are off, the first is number 2"
        in snapshots.problems(wanted, {**wanted, "gradients": np.float32([1.0, 9.0, 2.01])})[0]
    )
