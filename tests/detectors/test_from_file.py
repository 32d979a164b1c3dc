"""Detections from the file on: decoding, resizing, canvas, network, boxes, against MMDetection's own.

``verification/peers/mmdet_from_file.py`` recorded them.
"""

import json
import pathlib

import numpy as np
import pytest

from kdet import convert
from kdet.config import Config
from verification import from_file, weights
from verification.matching import match_detections

RECORD = pathlib.Path(__file__).parent.parent / "golden" / "files" / "from_file.npz"


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORD) as file:
        return dict(file)


@pytest.fixture(scope="module")
def meta(recorded):
    return json.loads(bytes(recorded["meta"]).decode())


@pytest.fixture(scope="module", params=from_file.CASES)
def case(request, meta):
    """Its name, its settings, and the detector with the weights of the record."""
    name, given = request.param, from_file.CASES[request.param]
    changes = {f"model.{key}": value for key, value in given["here"].items()}
    if given["size"] is not None:
        changes["model.preprocessor.size"] = list(given["size"])
    model = Config.load(given["recipe"], changes).build("model")
    shapes = {key: slot.shape for key, slot in convert.torch_items(model).items()}
    state = weights.generate_all(shapes, 0, meta[name]["tied"], meta[name]["adjust"])
    convert.load_state_dict(model, state)
    return name, given, model


def file_of(name, recorded):
    """Files written with PNG are the same everywhere; a JPEG depends on who wrote it."""
    return recorded[f"jpeg/{name}"].tobytes() if f"jpeg/{name}" in recorded else from_file.encoded(name)


def test_detections_are_the_references(case, recorded):
    name, given, model = case
    found = model.predict([file_of(image, recorded) for image in given["images"]])
    for row, image in enumerate(given["images"]):
        boxes, labels = recorded[f"{name}/{image}/boxes"], recorded[f"{name}/{image}/labels"]
        ours = {key: found[key][row] for key in ("boxes", "scores", "labels")}
        assert found["num_detections"][row] == len(labels), image
        matches = match_detections(boxes, labels, ours)
        assert (matches >= 0).mean() >= 0.99, f"{image}: {(matches >= 0).sum()} of {len(labels)}"
        if f"{name}/{image}/areas" in recorded:
            areas = recorded[f"{name}/{image}/areas"][matches >= 0]
            pixels = np.array([mask.sum() for mask in found["masks"][row]])[matches[matches >= 0]]
            assert (np.abs(pixels - areas) <= np.maximum(0.01 * areas, 4)).mean() >= 0.99, image
    # one graph, whatever the sizes
    assert model._inference.count == 1
