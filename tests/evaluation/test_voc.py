"""VOC mean AP against recorded figures of the reference (voc_cases.json) and by hand."""

import json
import pathlib

import numpy as np
import pytest

from kdet.evaluation.voc import voc_metrics

CASES = json.loads((pathlib.Path(__file__).parent / "voc_cases.json").read_text())


@pytest.mark.parametrize("rule", ["07", "12", "12_exclusive"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, rule):
    inclusive = rule != "12_exclusive"
    figures = voc_metrics(case["truth"], case["results"], rule[:2], pixel_inclusive=inclusive)
    for name, want in case["want"][rule].items():
        assert figures[name] == pytest.approx(want, abs=1e-6), name


def scene(difficult=0):
    truth = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    box = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    truth["annotations"] = [{"image_id": 1, **box}, {"image_id": 2, "difficult": difficult, **box}]
    hit = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    return truth, [
        {"image_id": 1, "score": 0.9, **hit},
        {"image_id": 1, "score": 0.8, **hit},  # found twice: a mistake
        {"image_id": 2, "score": 0.7, **hit},
    ]


def test_by_hand():
    truth, results = scene()
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    assert voc_metrics(truth, results, "12")["mAP"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc_metrics(truth, results, "07")["mAP"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert np.isnan(voc_metrics(truth, results)["AP/b"])


def test_difficult_objects_are_neither_required_nor_mistakes():
    truth, results = scene(difficult=1)
    assert voc_metrics(truth, results, "12")["mAP"] == pytest.approx(1.0)
    assert voc_metrics(truth, results[2:], "12")["mAP"] == 0.0


@pytest.mark.parametrize("change", [{"score": float("nan")}, {"bbox": [10, 10, float("nan"), 20]}])
def test_what_is_not_finite_is_never_a_hit(change):
    truth, results = scene()
    nothing = [{**result, **change} for result in results]
    assert voc_metrics(truth, nothing)["mAP"] == 0.0
    assert voc_metrics(truth, results + nothing) == pytest.approx(voc_metrics(truth, results), nan_ok=True)
    broken = {
        **truth,
        "annotations": [{**a, "bbox": [10, 10, float("nan"), 20]} for a in truth["annotations"]],
    }
    assert voc_metrics(broken, results)["mAP"] == 0.0


def test_empty():
    truth, results = scene()
    assert voc_metrics(truth, [])["mAP"] == 0.0
    assert np.isnan(voc_metrics({**truth, "annotations": []}, results)["mAP"])
    assert voc_metrics(truth, results, image_ids=[1])["mAP"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="one of 07, 12"):
        voc_metrics(truth, results, "10")
