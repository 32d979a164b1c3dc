"""COCO's protocol in blocks gives what faster-coco-eval gives at once."""

import json
import pathlib

import numpy as np
import pytest

import kdet.data
from kdet.data import masks
from kdet.evaluation import blocks, coco_metrics
from kdet.evaluation.coco import METRICS, coco_evaluator
from kdet.evaluation.columns import Columns, ResultTable
from kdet.evaluation.truth import Truth

ASSETS = pathlib.Path(__file__).parent.parent / "assets" / "data"
SIZE = 60, 80


def rle(random):
    pixels = np.zeros(SIZE, np.uint8)
    y, x = random.integers(0, 40, 2)
    pixels[y : y + random.integers(2, 30), x : x + random.integers(2, 30)] = 1
    return masks.encode_pixels(pixels)


def around(shape):
    return masks.bounds(shape)


def scene(seed=0, images=7, classes=5):
    """Ground truth with crowds, images and classes that have nothing, and results with equal scores."""
    random = np.random.default_rng(seed)
    truth = {
        "images": [{"id": 10 + i, "height": SIZE[0], "width": SIZE[1]} for i in range(images)],
        "categories": [{"id": 3 * c + 1, "name": f"class {c}"} for c in range(classes)],
        "annotations": [],
    }
    results = []
    for number in range(60):
        image, category = int(random.integers(10, 8 + images)), int(3 * random.integers(0, classes - 1) + 1)
        shape = rle(random)
        owner = {"image_id": image, "category_id": category}
        box, area = around(shape), masks.area(shape)
        extra = {"iscrowd": int(random.random() < 0.2), "area": area * float(random.choice((1, 30)))}
        truth["annotations"].append({**owner, **extra, "id": number, "bbox": box, "segmentation": shape})
        for _ in range(random.integers(0, 4)):
            near = shape if random.random() < 0.5 else rle(random)
            score = round(float(random.random()), 1)
            if random.random() < 0.3:
                owner = {**owner, "category_id": int(3 * random.integers(0, classes) + 1)}
            shifted = [v + float(random.normal(0, 1)) for v in around(near)]
            results.append({**owner, "bbox": shifted, "score": score, "segmentation": near})
    return truth, results


def at_once(truth, results, metric, **options):
    evaluator = coco_evaluator(truth, results, metric, **options)
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


@pytest.fixture
def seen(monkeypatch):
    """The figures that the blocks gave."""
    found, evaluate = [], blocks.evaluate
    monkeypatch.setattr(blocks, "evaluate", lambda *given: found.append(evaluate(*given)) or found[-1])
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("entries", "pairs"), [(200_000, 10**6), (40, 10**6), (7, 10**6), (200_000, 12)])
def test_figures_are_the_same(seen, monkeypatch, metric, entries, pairs):
    monkeypatch.setattr(blocks, "ENTRIES", entries)
    monkeypatch.setattr(blocks, "PAIRS", pairs)
    for seed in range(3):
        truth, results = scene(seed)
        for options in (
            {},
            {"image_ids": [10, 12, 13], "category_ids": [1, 4, 10]},
            {"max_detections": 2},
            {"category_ids": [13]},
        ):
            expected = at_once(truth, results, metric, **options)
            figures = coco_metrics(truth, results, metric, **options)
            for mine, theirs in zip(seen.pop(), expected, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9)
            assert figures
        assert coco_metrics(truth, [], metric) is not None
        for mine, theirs in zip(seen.pop(), at_once(truth, [], metric), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def file(tmp_path):
    """A COCO file with everything that a table and a dict could take in different ways."""
    truth, _ = scene()
    for image in truth["images"]:
        image["file_name"] = f"{image['id']}.jpg"
        (tmp_path / image["file_name"]).write_bytes(b"never opened")
    entries = truth["annotations"]
    del entries[0]["area"]
    del entries[1]["bbox"]
    entries[2]["ignore"] = 1
    entries[3]["bbox"][2] = 0.5  # no object for training, but one for the evaluation
    entries[4]["category_id"] = 99
    entries[5]["segmentation"] = [[1, 1, 30, 1, 30, 30]]
    (tmp_path / "coco.json").write_text(json.dumps(truth))
    return tmp_path


def table_of(results):
    """Results as a model's."""
    table, order = ResultTable(), sorted(range(len(results)), key=lambda i: results[i]["image_id"])
    for part in np.array_split(order, 4):
        own = [results[i] for i in part]
        both = Columns.of(own), Columns.of(own, boxes=False)
        table.add(Columns(both[0].image, both[0].category, both[0].boxes, both[1].shapes, both[0].scores))
    return table, [results[i] for i in order]


def assert_same(found, expected):
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "with_masks"), [("segm", True), ("bbox", True), ("bbox", False), ("proposal", False)]
)
def test_columns_of_a_file_score_as_its_dict(file, metric, with_masks, monkeypatch):
    index = kdet.data.read_coco(file / "coco.json", file, masks=with_masks).first(6)
    _, results = scene()
    table, results = table_of([r for r in results if r["image_id"] < 16])
    assert list(table) == results and table == results and len(table) == len(results)
    assert table[3] == results[3] and table[-2:] == results[-2:]
    content = index.to_coco()
    options = {"image_ids": {10, 11, 14}, "category_ids": index.category_ids}
    expected = coco_metrics(content, results, metric, **options)
    with monkeypatch.context() as patch:
        patch.setattr(type(index), "to_coco", None)  # the dict is never made
        assert_same(coco_metrics(Truth(index), table, metric, **options), expected)
    assert_same(coco_metrics(Truth(index), results, metric, **options), expected)
    assert dict(Truth(index)) == content


def test_columns_of_records_score_as_their_dict():
    index = kdet.data.read_voc(ASSETS / "voc" / "ImageSets" / "Main" / "train.txt")
    truth = index.to_coco()
    results = [
        {**{k: a[k] for k in ("image_id", "category_id")}, "bbox": [v + 0.7 for v in a["bbox"]], "score": 0.5}
        for a in truth["annotations"]
    ]
    table = ResultTable()
    table.add(Columns.of(results))
    assert_same(coco_metrics(Truth(index), table), coco_metrics(truth, results))


def test_results_of_unknown_images_are_refused(file):
    index = kdet.data.read_coco(file / "coco.json", file)
    table = ResultTable()
    table.add(Columns.of([{"image_id": 99, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}]))
    with pytest.raises(ValueError, match=r"does not hold: \[99\]"):
        coco_metrics(Truth(index), table)
