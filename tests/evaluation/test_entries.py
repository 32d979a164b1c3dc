"""Ground truth and results that no evaluator can take are named by entry, key and value."""

import numpy as np
import pytest

from kdet.errors import DataError
from kdet.evaluation import (
    cityscapes_metrics,
    coco_metrics,
    lvis_metrics,
    read_difficulty_lists,
    voc_metrics,
    wider_face_metrics,
)

TRUTH = {
    "images": [
        {"id": 1, "height": 60, "width": 80, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    ],
    "categories": [{"id": 1, "name": "cat", "frequency": "f"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "area": 400}],
}
RESULT = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "score": 0.9}
METRICS = {"coco": coco_metrics, "voc": voc_metrics, "lvis": lvis_metrics}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "The results are a list of dicts, .*; got None"),
        ({"image_id": 1}, "The results are a list of dicts"),
        ([None], "a list of dicts, .*; got None"),
        ([[1, 2]], r"a list of dicts, .*; got \[1, 2\]"),
        ([RESULT, {**RESULT, "score": "0.9"}], "Entry 1 of the results: its score is '0.9', not a number"),
        ([{**RESULT, "score": None}], "its score is None"),
        ([{**RESULT, "bbox": [1, 2, 3]}], r"its bbox is \[1, 2, 3\], not four numbers"),
        ([{**RESULT, "bbox": [1, 2, 3, "4"]}], "its bbox is .* not four numbers"),
        ([{**RESULT, "bbox": None}], "its bbox is None"),
        ([{**RESULT, "image_id": 1.5}], "its image_id is 1.5, not an id"),
        ([{**RESULT, "category_id": True}], "its category_id is True, not an id"),
        ([{"image_id": 1, "bbox": [1, 1, 2, 2], "score": 1}], "its category_id is None"),
    ],
)
def test_results(name, results, message):
    with pytest.raises(DataError, match=message):
        METRICS[name](TRUTH, results)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (None, "The ground truth is a COCO dict, not None"),
        ([], r"The ground truth is a COCO dict, not \[\]"),
        ({}, "The ground truth's 'images' are a list of dicts"),
        ({**TRUTH, "images": [{"id": None}]}, "Entry 0 of the ground truth's 'images': its id is None"),
        ({**TRUTH, "categories": [{"id": 1}]}, "'categories': its name is None, not a text"),
        ({**TRUTH, "annotations": [{"image_id": 1, "category_id": 1}]}, "'annotations': its bbox is None"),
        ({**TRUTH, "annotations": 3}, "The ground truth's 'annotations' are a list of dicts, .*; got 3"),
    ],
)
def test_ground_truth(name, truth, message):
    with pytest.raises(DataError, match=message):
        METRICS[name](truth, [RESULT])


def test_numpy_numbers_and_no_annotations_pass():
    result = {"image_id": np.int64(1), "category_id": np.int32(1), "bbox": np.float32([1, 1, 20, 20])}
    assert voc_metrics(TRUTH, [{**result, "score": np.float32(0.5)}])["mAP"] == pytest.approx(1.0)
    assert np.isnan(coco_metrics({**TRUTH, "annotations": None}, [])["AP"])


def test_arguments():
    for threshold in (float("nan"), -1, 2, "0.5"):
        with pytest.raises(DataError, match="iou_threshold must be a number from 0 to 1"):
            voc_metrics(TRUTH, [], iou_threshold=threshold)
    for count in (0, 1.5, True, "3"):
        with pytest.raises(DataError, match="max_detections must be a whole number from 1 on"):
            coco_metrics(TRUTH, [], max_detections=count)
    with pytest.raises(DataError, match=r"category_ids holds \[7\]"):
        coco_metrics(TRUTH, [], category_ids=[1, 7])
    with pytest.raises(DataError, match="height is None, not a number of pixels"):
        coco_metrics({**TRUTH, "images": [{"id": 1}]}, [], "segm")


def test_other_benchmarks(tmp_path):
    with pytest.raises(DataError, match="its score is None"):
        cityscapes_metrics(lambda _: np.zeros((4, 4), int), [{"image_id": 1, "category_id": 26}], [1])
    with pytest.raises(DataError, match="its bbox is None"):
        wider_face_metrics({}, [{"image_id": 1, "category_id": 1, "score": 1}], {})
    (tmp_path / "wider_easy_val.mat").write_bytes(b"no list")
    with pytest.raises(DataError, match="wider_easy_val.mat is no list of WIDER FACE's evaluation tools"):
        read_difficulty_lists(str(tmp_path))
