"""COCO metrics against pycocotools on random scenes with crowds, missing classes and empty images."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdet.evaluation.coco import coco_metrics

SIZE = 200


def rle(box):
    x, y, w, h = (int(v) for v in box)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[y : y + h, x : x + w] = 1
    mask[y : y + h // 3, x : x + w // 3] = 0
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def scene(seed=0, images=12):
    rng = np.random.default_rng(seed)
    categories = [{"id": i, "name": n} for i, n in ((3, "cat"), (7, "dog"), (9, "never seen"))]
    truth = {"images": [], "annotations": [], "categories": categories}
    results = []
    for image_id in range(1, images + 1):
        truth["images"].append({"id": image_id, "width": SIZE, "height": SIZE})
        for _ in range(rng.integers(0, 5)):
            box = np.r_[rng.uniform(0, 120, 2), rng.uniform(8, 80, 2)].round(1)
            category = int(rng.choice([3, 7]))
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": image_id, "category_id": category}
            annotation.update(bbox=box.tolist(), area=float(box[2] * box[3]), segmentation=rle(box))
            annotation["iscrowd"] = int(rng.random() < 0.15)
            truth["annotations"].append(annotation)
            for _ in range(rng.integers(0, 4)):
                near = np.clip(box + rng.normal(0, 4, 4), 1, 190)
                result = {"image_id": image_id, "category_id": category if rng.random() < 0.9 else 9}
                result.update(bbox=near.tolist(), score=float(rng.random()), segmentation=rle(near))
                results.append(result)
    return truth, results


def reference(truth, results, metric):
    results = copy.deepcopy(results)
    for result in results:
        result.pop("bbox" if metric == "segm" else "segmentation")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "segm" if metric == "segm" else "bbox")
        if metric == "proposal":
            evaluator.params.useCats = 0
            evaluator.params.maxDets = [100, 300, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize("metric", ["bbox", "segm"])
def test_ap_equals_pycocotools(metric):
    truth, results = scene()
    ours, stats = coco_metrics(truth, results, metric), reference(truth, results, metric)
    for name, want in zip(("AP", "AP50", "AP75", "APs", "APm", "APl"), stats):
        assert ours[name] == pytest.approx(want, abs=1e-9) or (np.isnan(ours[name]) and want == -1), name
    assert ours["AR"] == pytest.approx(stats[8], abs=1e-9)
    assert ours["AP"] == pytest.approx(np.mean([ours["AP/cat"], ours["AP/dog"]]))
    assert np.isnan(ours["AP/never seen"])


def test_proposal_recall_equals_pycocotools():
    truth, results = scene(seed=1)
    ours, stats = coco_metrics(truth, results, "proposal"), reference(truth, results, "proposal")
    for name, want in zip(("AR@100", "AR@300", "AR@1000", "ARs@1000", "ARm@1000"), stats[6:11]):
        assert ours[name] == pytest.approx(want, abs=1e-9), name


def test_the_inputs_stay_as_they_were():
    truth, results = scene()
    before = copy.deepcopy((truth, results))
    coco_metrics(truth, results, "bbox")
    coco_metrics(truth, results, "segm")
    assert (truth, results) == before


def test_no_detections_and_no_objects():
    truth, results = scene()
    assert coco_metrics(truth, [], "bbox")["AP"] == 0.0
    assert coco_metrics(truth, [], "proposal")["AR@100"] == 0.0
    assert np.isnan(coco_metrics({**truth, "annotations": []}, results, "bbox")["AP"])


@pytest.mark.parametrize("metric", ["bbox", "segm", "proposal"])
@pytest.mark.parametrize("change", [{"score": float("nan")}, {"bbox": [1, float("inf"), 5, 5]}])
def test_what_is_not_finite_is_never_a_hit(metric, change, caplog):
    truth, results = scene()
    nothing = [{**result, **change} for result in results]
    name = "AR@100" if metric == "proposal" else "AP"
    assert coco_metrics(truth, nothing, metric)[name] == 0.0
    assert f"{len(results)} of {len(results)} detections" in caplog.text
    np.testing.assert_equal(
        coco_metrics(truth, results + nothing, metric), coco_metrics(truth, results, metric)
    )


def test_ids_of_annotations_do_not_matter():
    truth, results = scene()
    renumbered = {**truth, "annotations": [{**a, "id": a["id"] - 1} for a in truth["annotations"]]}
    np.testing.assert_equal(coco_metrics(renumbered, results), coco_metrics(truth, results))
    without = {**truth, "annotations": [{k: a[k] for k in a if k != "id"} for a in truth["annotations"]]}
    np.testing.assert_equal(coco_metrics(without, results), coco_metrics(truth, results))


def test_a_part_of_the_images():
    truth, results = scene()
    some = {1, 2, 3, 4}
    part = {**truth, "images": [i for i in truth["images"] if i["id"] in some]}
    part["annotations"] = [a for a in truth["annotations"] if a["image_id"] in some]
    want = coco_metrics(part, [r for r in results if r["image_id"] in some])
    np.testing.assert_equal(coco_metrics(truth, results, image_ids=some), want)


def test_bad_input_is_named():
    truth, results = scene()
    with pytest.raises(ValueError, match=r"does not hold: \[99\]"):
        coco_metrics(truth, [{**results[0], "image_id": 99}])
    with pytest.raises(ValueError, match="must be one of bbox, segm, proposal"):
        coco_metrics(truth, results, "box")
