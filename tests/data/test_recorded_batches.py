"""The batches of published recipes for a seed are those that were recorded, whatever was rewritten since."""

import importlib.metadata
import json

import pytest

from tests.data.recorded import GOLDEN, RECIPES, batches_of

RECORDED = json.loads(GOLDEN.read_text())
# whose draws change from version to version
ALBUMENTATIONS = "2.0.8"


def assert_same(found, wanted, where):
    dtype, shape, digest, weighted, size = wanted
    assert found[:2] == [dtype, shape], where
    if found[2] != digest:
        # processors and versions of OpenCV differ in the last digit of an interpolated or colored pixel
        assert dtype == "float32" or where[-1] == "images", where
        assert found[3] == pytest.approx(weighted, abs=1e-6 * size), where
        assert found[4] == pytest.approx(size, rel=1e-6), where


@pytest.mark.parametrize("name", RECIPES)
def test_batches_are_those_of_before(name, tmp_path):
    if "albu" in name:
        pytest.importorskip("albumentations", reason="the optional extra kdet[albu] is not installed")
        if importlib.metadata.version("albumentations") != ALBUMENTATIONS:
            pytest.skip(f"recorded with albumentations {ALBUMENTATIONS}")
    if "instaboost" in name:
        pytest.importorskip("cv2", reason="InstaBoost fills holes with OpenCV, an optional dependency")
    found = json.loads(json.dumps(batches_of(name, tmp_path)))
    for split, wanted in RECORDED[name].items():
        assert {k: found[split][k] for k in ("shapes", "steps")} == {
            k: wanted[k] for k in ("shapes", "steps")
        }
        for step, batch in enumerate(wanted["batches"]):
            assert found[split]["batches"][step].keys() == batch.keys()
            for key, numbers in batch.items():
                assert_same(found[split]["batches"][step][key], numbers, (name, split, step, key))
