"""Detections -> COCO entries."""

import json

import numpy as np
import pytest

from kdet.evaluation.results import ResultList


def detections(labels=((1, 0, -1), (-1, -1, -1))):
    boxes = np.tile([[10.0, 20.0, 40.0, 60.0], [0.0, 0.0, 5.0, 5.0], [0.0] * 4], (2, 1, 1))
    scores = np.array([[0.9, 0.5, 0.0]] * 2, np.float32)
    return {"boxes": boxes, "scores": scores, "labels": np.array(labels), "num_detections": np.array([2, 0])}


def test_padding_is_left_out_and_empty_images_are_seen(tmp_path):
    results = ResultList(category_ids=[3, 8])
    results.add(detections(), image_ids=[11, 12], sizes=[[100, 80]] * 2)
    results.add(detections(labels=((0, 0, 0), (0, 0, 0))), image_ids=[-1, -1], sizes=[[100, 80]] * 2)
    assert results.image_ids == [11, 12]
    first, second = results.entries
    assert first["image_id"] == 11 and first["category_id"] == 8 and second["category_id"] == 3
    assert first["bbox"] == [10.0, 20.0, 30.0, 40.0] and first["score"] == pytest.approx(0.9)
    results.save(tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == results.entries


def test_what_is_not_finite_is_left_out_and_counted():
    found = detections(labels=((0, 0, -1), (0, 0, -1)))
    found["scores"][0, 0], found["scores"][0, 2] = np.nan, np.nan
    found["boxes"][1, 1, 3] = np.inf
    results = ResultList(category_ids=[3])
    results.add(found, [11, 12], [[100, 80]] * 2)
    assert [(e["image_id"], e["bbox"]) for e in results.entries] == [
        (11, [0.0, 0.0, 5.0, 5.0]),
        (12, [10.0, 20.0, 30.0, 40.0]),
    ]
    assert results.not_finite == 2


def test_a_model_with_more_classes_than_the_data_is_refused():
    with pytest.raises(ValueError, match="label 1 but the data has only 1 categories"):
        ResultList(category_ids=[3]).add(detections(), [1, 2], [[100, 80]] * 2)
