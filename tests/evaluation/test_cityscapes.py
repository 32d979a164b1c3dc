"""Cityscapes' instance AP against recorded figures of the package (record.py) and by hand."""

import json
import pathlib

import numpy as np
import pytest

from kdet.evaluation.cityscapes import cityscapes_metrics
from tests.evaluation import scenes

RECORDED = json.loads((pathlib.Path(__file__).parent / "recorded.json").read_text())["cityscapes"]
CAR = {"car": 26}


@pytest.mark.parametrize("case", scenes.CITY_CASES)
def test_equals_the_package(case):
    maps, predictions = scenes.city_scene(case)
    results = [
        {"image_id": i, "category_id": label, "score": score, "segmentation": scenes.rle(mask)}
        for i, found in enumerate(predictions)
        for mask, label, score in found
    ]
    figures = cityscapes_metrics(maps.__getitem__, results, range(len(maps)))
    for name, want in RECORDED[case].items():
        assert figures[name] == pytest.approx(
            float("nan") if want is None else want, abs=1e-9, nan_ok=True
        ), name


def street():
    """Two cars of 20x10 pixels, a group of cars, a caravan's group, and a car of fewer than 100 pixels."""
    found = np.full((60, 60), 7, np.int32)
    found[0:20, 0:10], found[0:20, 20:30] = 26000, 26001
    found[30:50, 0:10], found[30:50, 20:30] = 26, 29
    found[30:39, 40:50] = 26002
    return found


def car(rows, columns, score, label=26):
    mask = np.zeros((60, 60), np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    return {"image_id": 0, "category_id": label, "score": score, "segmentation": scenes.rle(mask)}


FIRST, SECOND = car((0, 20), (0, 10), 0.9), car((0, 20), (20, 30), 0.8)
ROAD = (20, 30), (40, 60)


@pytest.mark.parametrize(
    ("results", "ap", "ap50"),
    [
        ([FIRST, SECOND], 1.0, 1.0),
        ([FIRST], 0.5, 0.5),
        # overlap 16/20: found up to the threshold 0.75, missed and wrong from 0.8 on
        ([FIRST, car((0, 16), (20, 30), 0.8)], None, 1.0),
        # found twice: the lower score is wrong; precision 2/3, 1/2, 1 at recall 1, 1/2, 1/2, and 1 at 0, each
        # with a step of 1/4
        ([FIRST, SECOND, car((0, 20), (0, 10), 0.85)], 19 / 24, 19 / 24),
        ([FIRST, SECOND, car((30, 50), (0, 10), 0.95)], 1.0, 1.0),  # a group
        ([FIRST, SECOND, car((30, 50), (20, 30), 0.95)], 1.0, 1.0),  # void
        ([FIRST, SECOND, car((30, 39), (40, 50), 0.95)], 1.0, 1.0),  # too small to be asked for
        ([FIRST, SECOND, car((0, 0), (0, 0), 0.95)], 1.0, 1.0),  # empty
        ([FIRST, SECOND, car(*ROAD, 0.95, label=24)], 1.0, 1.0),  # another class
        ([FIRST, SECOND, car(*ROAD, float("nan"))], 1.0, 1.0),
        ([car(*ROAD, 0.95)], 0.0, 0.0),
        ([], 0.0, 0.0),
    ],
)
def test_by_hand(results, ap, ap50):
    figures = cityscapes_metrics(lambda image_id: street(), results, [0], CAR)
    assert figures["AP50"] == figures["AP50/car"] == pytest.approx(ap50)
    if ap is not None:
        assert figures["AP"] == figures["AP/car"] == pytest.approx(ap)


def test_a_class_without_objects_does_not_enter_the_mean():
    figures = cityscapes_metrics(lambda image_id: street(), [FIRST, SECOND], [0])
    assert figures["AP"] == pytest.approx(1.0) and np.isnan(figures["AP/bus"])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="needs masks; a result of image 0 has none"):
        cityscapes_metrics(
            lambda i: street(), [{k: FIRST[k] for k in ("image_id", "category_id", "score")}], [0]
        )
    with pytest.raises(
        ValueError, match=r"A mask of image 0 is \(60, 60\) \(h, w\) but its instance map \(5, 6\)"
    ):
        cityscapes_metrics(lambda image_id: np.zeros((5, 6), np.int32), [FIRST], [0])
