"""LVIS metrics against recorded figures of the package (record.py) and by hand."""

import copy
import json
import pathlib

import numpy as np
import pytest

from kdet.evaluation import lvis
from kdet.evaluation.lvis import best_of_each_image, lvis_metrics
from tests.evaluation import scenes

RECORDED = json.loads((pathlib.Path(__file__).parent / "recorded.json").read_text())["lvis"]


@pytest.mark.parametrize("pairs", [lvis.PAIRS, 12], ids=["at once", "in parts"])
@pytest.mark.parametrize("kind", ["bbox", "segm", "segm without boxes"])
@pytest.mark.parametrize("case", scenes.LVIS_CASES)
def test_equals_the_package(case, kind, pairs, monkeypatch):
    monkeypatch.setattr(lvis, "PAIRS", pairs)  # 12: two categories of six images at a time
    truth, results = scenes.lvis_scene(case)
    if kind == "segm without boxes":
        results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
    figures = lvis_metrics(truth, results, kind.split()[0])
    for name, want in RECORDED[case][kind].items():
        assert figures[name] == pytest.approx(want, abs=1e-6), name


def scene():
    """One object of "a" in image 1; "b" is known to be absent there, nothing is known of "c"."""
    categories = [
        {"id": i, "name": n, "frequency": f} for i, n, f in ((1, "a", "r"), (2, "b", "f"), (3, "c", "c"))
    ]
    images = [
        {"id": 1, "height": 90, "width": 90, "neg_category_ids": [2], "not_exhaustive_category_ids": []},
        {"id": 2, "height": 90, "width": 90, "neg_category_ids": [1], "not_exhaustive_category_ids": []},
    ]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [10, 10, 40, 40], "area": 1600},
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def found(image_id, category_id, score, box=(10, 10, 40, 40)):
    return {"image_id": image_id, "category_id": category_id, "score": score, "bbox": list(box)}


ELSEWHERE = (60, 60, 20, 20)
HITS = [found(1, 1, 0.5), found(2, 2, 0.5)]


@pytest.mark.parametrize(
    ("more", "change", "want"),
    [
        ([], {}, {"AP": 1.0, "APr": 1.0, "APf": 1.0}),
        # wrong before right: precision 1/2 at every recall
        ([found(1, 1, 0.9, ELSEWHERE)], {}, {"AP": 0.75, "APr": 0.5, "APf": 1.0}),
        # of a class that is absent from image 2
        ([found(2, 1, 0.9, ELSEWHERE)], {}, {"AP": 0.75, "APr": 0.5}),
        # of classes that nobody looked for in that image
        ([found(1, 3, 0.9), found(2, 3, 0.9)], {}, {"AP": 1.0}),
        # not all objects of "a" are annotated: nothing of it is wrong
        ([found(1, 1, 0.9, ELSEWHERE)], {"not_exhaustive_category_ids": [1]}, {"AP": 1.0}),
        ([found(1, 1, float("nan"))], {}, {"AP": 1.0}),
        ([found(1, 1, 0.9, (10, float("nan"), 40, 40))], {}, {"AP": 1.0}),
    ],
)
def test_by_hand(more, change, want):
    truth = scene()
    truth["images"][0].update(change)
    figures = lvis_metrics(truth, HITS + more)
    for name, value in want.items():
        assert figures[name] == pytest.approx(value), name
    assert np.isnan(figures["APc"]) and np.isnan(figures["AP/c"])


def test_masks_of_unknown_classes_in_images_without_objects():
    truth = scene()
    for annotation in truth["annotations"]:
        annotation["segmentation"] = scenes.rle(np.ones((90, 90)))
    del truth["annotations"][1]
    mask = scenes.rle(np.ones((90, 90)))
    results = [{**result, "segmentation": mask} for result in (found(1, 1, 0.5), found(2, 3, 0.9))]
    assert lvis_metrics(truth, results, "segm")["AP"] == pytest.approx(1.0)


def test_the_best_300_of_an_image_count():
    results = [found(1, 2, 0.001 * i) for i in range(400)] + HITS
    best = best_of_each_image(results, 300)
    assert len(best) == 301
    assert sorted(r["score"] for r in best if r["image_id"] == 1)[0] == pytest.approx(0.101)
    # 0.5 is beaten by 0.501 .. 1.0 and so among the best: found, until one more image-wide place is missing
    crowd = [found(1, 2, 0.6 + 0.001 * i, ELSEWHERE) for i in range(300)]
    assert lvis_metrics(scene(), HITS + crowd[:299])["AP/a"] == pytest.approx(1.0)
    assert lvis_metrics(scene(), HITS + crowd)["AP/a"] == 0.0


def test_a_part_of_the_images_and_categories():
    truth, results = scenes.lvis_scene("plain")
    before = copy.deepcopy((truth, results))
    some = {10, 30}
    part = {**truth, "images": [i for i in truth["images"] if i["id"] in some]}
    part["annotations"] = [a for a in truth["annotations"] if a["image_id"] in some]
    want = lvis_metrics(part, [r for r in results if r["image_id"] in some])
    np.testing.assert_equal(lvis_metrics(truth, results, image_ids=some), want)
    one = lvis_metrics(truth, results, category_ids=[4])
    assert one["AP"] == one["AP/c1"] == lvis_metrics(truth, results)["AP/c1"]
    assert (truth, results) == before


def test_no_detections():
    assert lvis_metrics(scene(), [])["AP"] == 0.0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"does not hold|do not|\[99\]"):
        lvis_metrics(scene(), [found(99, 1, 0.5)])
    with pytest.raises(ValueError, match="must be one of bbox, segm; got 'proposal'"):
        lvis_metrics(scene(), [], "proposal")
    truth = scene()
    del truth["images"][1]["neg_category_ids"]
    with pytest.raises(ValueError, match="entry 2 of 'images' has no 'neg_category_ids'"):
        lvis_metrics(truth, [])
    truth = scene()
    truth["categories"][0]["frequency"] = "often"
    with pytest.raises(ValueError, match="'frequency' of category 1 must be one of r, c, f; got 'often'"):
        lvis_metrics(truth, [])
