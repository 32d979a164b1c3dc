"""Kinds of errors as TIDE's package counts them, confusion, curves, logs and the report."""

import json
import pathlib
import runpy

import numpy as np
import pytest
from PIL import Image

import kdet.data
from kdet import cli
from kdet.analysis import confusion, curves, matches, report, tide
from kdet.analysis.logs import read_log
from kdet.config import Config
from kdet.curation.own_data import use_data
from kdet.errors import DataError
from kdet.evaluation import coco_metrics
from tests.data import made

HERE = pathlib.Path(__file__).parent
scene = runpy.run_path(str(HERE / "scene.py"))["scene"]
RECORDED = json.loads((HERE / "tide.json").read_text())


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: str(one["case"]))
def test_errors_are_those_of_tide(recorded):
    found = tide.errors(*scene(**recorded["case"]))
    assert found.counts == recorded["counts"]
    assert found.ap == pytest.approx(recorded["ap"], abs=1e-9)
    assert found.costs == pytest.approx(recorded["costs"], abs=1e-9)
    assert [found.false_positives, found.false_negatives] == pytest.approx(recorded["special"], abs=1e-9)
    assert sum(sum(image.values()) for image in found.images.values()) == sum(found.counts.values())


def test_ap_is_that_of_coco():
    truth, results = scene(5, classes=3)
    assert tide.errors(truth, results).ap == pytest.approx(
        100 * coco_metrics(truth, results)["AP50"], abs=0.3
    )


def simple(*results, crowd=False):
    """A cat at the left, a dog at the right, and detections ``(category, box, score)``."""
    boxes = [(1, [0, 0, 20, 20]), (2, [50, 50, 20, 20])]
    truth = {
        "images": [{"id": 1, "height": 100, "width": 100, "file_name": "a"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": c, "bbox": box, "iscrowd": int(crowd and c == 2)}
            for i, (c, box) in enumerate(boxes)
        ],
    }
    found = [{"image_id": 1, "category_id": c, "bbox": box, "score": s} for c, box, s in results]
    return truth, found


@pytest.mark.parametrize(
    ("results", "kinds"),
    [
        ([], {"miss": 2}),
        ([(1, [0, 0, 20, 20], 0.9), (2, [50, 50, 20, 20], 0.9)], {}),
        ([(2, [0, 0, 20, 20], 0.9)], {"cls": 1, "miss": 1}),
        ([(1, [8, 8, 20, 20], 0.9)], {"loc": 1, "miss": 1}),
        ([(2, [8, 8, 20, 20], 0.9)], {"both": 1, "miss": 2}),
        ([(1, [0, 0, 20, 20], 0.9), (1, [1, 0, 20, 20], 0.8)], {"dupe": 1, "miss": 1}),
        ([(1, [80, 0, 9, 9], 0.9)], {"bkg": 1, "miss": 2}),
        ([(1, [0, 0, 20, 20], float("nan"))], {"miss": 2}),
    ],
)
def test_kinds_of_errors(results, kinds):
    found = tide.errors(*simple(*results))
    assert {kind: count for kind, count in found.counts.items() if count} == kinds


def test_detections_in_a_crowd_do_not_count():
    truth, results = simple((2, [52, 52, 9, 9], 0.9), (2, [54, 54, 9, 9], 0.8), crowd=True)
    matrix = confusion.confusion(truth, results)
    np.testing.assert_array_equal(matrix, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert tide.errors(truth, results).ap == 0.0
    (one,) = matches.scenes(truth, results)
    np.testing.assert_allclose(one.crowd_overlaps, [[1.0], [1.0]])
    np.testing.assert_allclose(one.boxes[0], [52, 52, 61, 61])


def test_confusion_pairs_the_best():
    truth, results = simple(
        (2, [0, 0, 20, 20], 0.9),  # the cat for a dog
        (2, [50, 50, 20, 20], 0.8),
        (1, [50, 50, 20, 19], 0.7),  # a second detection
        (1, [0, 80, 9, 9], 0.2),  # below the score
    )
    np.testing.assert_array_equal(confusion.confusion(truth, results), [[0, 1, 0], [0, 1, 0], [1, 0, 0]])
    matrix = confusion.confusion(truth, results, score=0.1)
    np.testing.assert_array_equal(matrix[2], [2, 0, 0])


def test_masks_are_compared_by_their_pixels():
    square = [[0, 0, 10, 0, 10, 10, 0, 10]]
    truth, results = simple((1, [0, 0, 20, 20], 0.9))
    truth["annotations"][0]["segmentation"] = [[0, 0, 20, 0, 20, 20, 0, 20]]
    truth["annotations"][1]["segmentation"] = [[50, 50, 70, 50, 70, 70, 50, 70]]
    results[0]["segmentation"] = square
    assert tide.errors(truth, results, "segm").counts["loc"] == 1  # a quarter of the pixels
    assert tide.errors(truth, results).counts["loc"] == 0


def test_curves_are_coco_s():
    truth, results = scene(7)
    found = curves.curves(truth, results)
    known = coco_metrics(truth, results)
    assert found.names == ["c0", "c1", "c2", "c3"]
    assert found.overall["AP"] == known["AP"] and found.overall["AP50"] == known["AP50"]
    assert found.overall["AP75"] == known["AP75"] and found.overall["small"] == known["APs"]
    assert found.ap["c1"]["AP"] == known["AP/c1"]
    line = found.precision["c1"]["0.5"]
    assert line.shape == (101,) and (np.diff(line) <= 1e-12).all()
    assert line.mean() == pytest.approx(found.ap["c1"]["AP50"])


def log(path, epochs):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"epoch": e, "loss": 1 / e, "loss_cls": 0.5 / e, "learning_rate": 0.1} for e in epochs]
    lines[-1].update({"val/bbox/AP": 0.5, "val/bbox/APs": None})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_logs_are_read(tmp_path):
    log(tmp_path / "log.jsonl", [1, 2, 1, 3])
    found = read_log(tmp_path)
    assert found["loss"] == ([1, 2, 3], [1.0, 0.5, 1 / 3]) and found["val/bbox/AP"] == ([3], [0.5])
    assert "val/bbox/APs" not in found
    for text, message in (
        ("{", "line 1: it is no JSON"),
        ("{}", "line 1: it has no 'epoch'"),
        ("\n", "no epoch"),
    ):
        (tmp_path / "log.jsonl").write_text(text)
        with pytest.raises(DataError, match=message):
            read_log(tmp_path)


def test_the_report_holds_everything(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path / "data"), masks=True)
    cat, dog = [10, 5, 20, 20], [30, 10, 20, 20]
    results = [
        {
            "image_id": 0,
            "category_id": 1,
            "bbox": cat,
            "score": 0.9,
            "segmentation": [[10, 5, 30, 5, 30, 25]],
        },
        {
            "image_id": 1,
            "category_id": 2,
            "bbox": [1, 1, 9, 9],
            "score": 0.8,
            "segmentation": [[1, 1, 9, 1, 9, 9]],
        },
        {"image_id": 0, "category_id": 1, "bbox": dog, "score": 0.7, "segmentation": [made.DOG]},
    ]
    log(tmp_path / "run" / "log.jsonl", [1, 2])
    found = report.analyze(index.to_coco(), results)
    logs = {"a": read_log(tmp_path / "run"), "b": read_log(tmp_path / "run")}
    page = report.write_report(tmp_path / "out", found, index, results, logs).read_text()
    for name in (
        "errors",
        "precision_recall",
        "precision_recall_75",
        "sizes",
        "classes",
        "training",
        "worst_00",
    ):
        assert f"{name}.png" in page and min(Image.open(tmp_path / "out" / f"{name}.png").size) >= 40
    assert "dog taken for cat (1)" in page and "a.png: 1 cls" in page and "b.png: 1 bkg" in page
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["errors"]["counts"]["cls"] == 1 and figures["classes"]["cat"]["small"] == 1.0
    assert figures["classes"]["cat"]["large"] is None
    assert "nothing" not in report.analyze(index.to_coco(), results, "segm").figures()


def test_the_command(tmp_path, capsys):
    made.yolo(tmp_path / "y")
    results = [{"image_id": 0, "category_id": 2, "bbox": [10, 5, 20, 20], "score": 0.9}]
    made.write(tmp_path / "found.json", results)
    given = ["analyze", "retinanet_r50_fpn_1x", "--data", str(tmp_path / "y"), "--out", str(tmp_path / "out")]
    assert cli.main([*given, "--results", str(tmp_path / "found.json")]) == 0
    text = capsys.readouterr().out
    assert "cls        1 errors cost 50.00 points" in text and (tmp_path / "out" / "report.html").exists()
    log(tmp_path / "run" / "log.jsonl", [1, 2])
    assert cli.main(["analyze", "--logs", str(tmp_path / "run"), "--out", str(tmp_path / "logs")]) == 0
    assert "training.png" in (tmp_path / "logs" / "report.html").read_text()
    # the folder of a run: its recipe and its log
    config = use_data(Config.load("retinanet_r50_fpn_1x"), tmp_path / "y")
    config.save(tmp_path / "run" / "config.yaml")
    given_run = ["analyze", str(tmp_path / "run"), "--results", str(tmp_path / "found.json")]
    assert cli.main([*given_run, "--out", str(tmp_path / "both")]) == 0
    page = (tmp_path / "both" / "report.html").read_text()
    assert "training.png" in page and "errors.png" in page
    for arguments, message in (
        (["analyze", "--out", "x"], "give a recipe, or --logs"),
        ([*given, "--results", str(tmp_path / "y" / "data.yaml")], "not valid JSON"),
        (["analyze", "--logs", str(tmp_path), "--out", "x"], "log.jsonl does not exist"),
    ):
        assert cli.main(arguments) == 2
        assert message in capsys.readouterr().err
