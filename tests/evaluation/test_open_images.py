"""Open Images' mAP, against MMDetection 2.28 (record_open_images.py) and by hand."""

import json
import math
import pathlib

import pytest

from kdet.evaluation.open_images import open_images_metrics
from tests.evaluation.open_images_scene import ancestors, scene

RECORDED = json.loads(pathlib.Path(__file__).with_name("open_images_recorded.json").read_text())


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: "-".join(map(str, one["case"])))
def test_the_figures_are_those_of_the_reference(recorded):
    seed, with_labels, with_hierarchy = recorded["case"]
    truth, results, looked_for = scene(seed)
    above = {label + 1: [one + 1 for one in over] for label, over in ancestors().items()}
    labels = {image: [label + 1 for label in here] for image, here in looked_for.items()}
    figures = open_images_metrics(
        truth, results, above if with_hierarchy else None, labels if with_labels else None
    )
    scored = {name: value for name, value in figures.items() if not math.isnan(value)}
    assert scored == pytest.approx(recorded["figures"], abs=1e-6)


def of(annotations, results, **options):
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "animal"}, {"id": 2, "name": "cat"}],
        "annotations": [{"id": i, "image_id": 1, **a} for i, a in enumerate(annotations)],
    }
    results = [{"image_id": 1, **result} for result in results]
    return open_images_metrics(truth, results, **options)


CAT = {"category_id": 2, "bbox": [0, 0, 10, 10]}


def test_a_cat_is_an_animal():
    figures = of([CAT], [{**CAT, "score": 0.5}], ancestors={2: [1]})
    assert figures == {"mAP": 1.0, "AP/animal": 1.0, "AP/cat": 1.0}
    animal = of([CAT], [{**CAT, "category_id": 1, "score": 0.5}], ancestors={2: [1]})
    assert animal == {"mAP": 0.5, "AP/animal": 1.0, "AP/cat": 0.0}


def test_a_class_that_nobody_looked_for_does_not_count():
    wrong = {"category_id": 1, "bbox": [50, 50, 5, 5], "score": 0.9}
    right = {**CAT, "score": 0.5}
    assert math.isnan(of([CAT], [wrong, right])["AP/animal"])
    assert of([CAT], [wrong, right])["mAP"] == 1.0
    assert of([CAT], [{**wrong, "category_id": 2}, right])["AP/cat"] == 0.5


def test_a_group_is_found_once_by_what_lies_in_it():
    group = {**CAT, "bbox": [0, 0, 100, 100], "iscrowd": 1}
    inside = [{**CAT, "bbox": [i * 20, 0, 10, 10], "score": 0.5 + i / 10} for i in range(4)]
    assert of([group], inside)["AP/cat"] == 1.0
    outside = {**CAT, "bbox": [95, 0, 50, 10], "score": 0.99}
    assert of([group], [*inside, outside])["AP/cat"] == 0.5


def test_what_is_not_finite_does_not_count():
    assert of([CAT], [{**CAT, "score": float("nan")}])["AP/cat"] == 0.0
