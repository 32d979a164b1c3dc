"""``kdet dataset``: what it converts, checks, counts, divides and joins, and what it says."""

import json
import pathlib
import runpy

import pytest
import yaml
from PIL import Image

import kdet.data
from kdet import cli
from tests.data import made

ROOT = pathlib.Path(__file__).parent.parent.parent
ASSETS = ROOT / "tests" / "assets" / "data"


@pytest.fixture
def convert():
    return runpy.run_path(str(ROOT / "tools" / "convert_dataset.py"))["main"]


@pytest.mark.parametrize(
    ("arguments", "images", "objects"),
    [
        ([str(ASSETS / "coco.json"), "--masks"], 3, 4),
        ([str(ASSETS / "voc/ImageSets/Main/train.txt")], 1, 2),
    ],
)
def test_converts(convert, tmp_path, capsys, arguments, images, objects):
    target = tmp_path / "out"
    convert([arguments[0], str(target), *arguments[1:], "--to", "tfrecord"])
    assert f"Wrote {target} (tfrecord)" in capsys.readouterr().out
    (spec,) = kdet.data.data_sets(target).values()
    index = kdet.data.read_index({**spec, "masks": "--masks" in arguments})
    assert (len(index), sum(len(r.labels) for r in index.records)) == (images, objects)


def test_explains_what_is_wrong(convert, tmp_path, refused):
    arguments = [str(ASSETS / "coco.json"), str(tmp_path / "out"), "--images", str(tmp_path)]
    assert "a.jpg', which does not exist" in refused(convert, arguments)


def test_every_action(tmp_path, capsys):
    made.labelme(tmp_path / "tool")
    made.cvat(tmp_path / "cvat")
    joined, parts, voc = (str(tmp_path / name) for name in ("joined", "parts", "voc"))
    assert (
        cli.main(["dataset", "merge", str(tmp_path / "tool"), str(tmp_path / "cvat"), joined, "--to", "yolo"])
        == 0
    )
    content = yaml.safe_load((tmp_path / "joined" / "data.yaml").read_text())
    assert content["names"] == {0: "cat", 1: "dog"}
    # the images of the two are the same files: two groups of two
    split = ["dataset", "split", joined, parts, "--ratio", "train=0.5", "val=0.5", "--seed", "1"]
    assert cli.main(split) == 0
    sets = kdet.data.data_sets(parts)
    assert [len(kdet.data.read_index(spec)) for spec in sets.values()] == [2, 2]
    assert cli.main(["dataset", "convert", parts, voc, "--to", "voc", "--splits", "train", "--no-masks"]) == 0
    assert (tmp_path / "voc/ImageSets/Main/train.txt").exists()
    capsys.readouterr()
    report = tmp_path / "stats.json"
    assert cli.main(["dataset", "stats", joined, "--json", str(report)]) == 0
    assert "4 images (2 without objects), 4 objects" in capsys.readouterr().out
    assert json.loads(report.read_text())["train"]["objects"] == 4
    sheet, found = tmp_path / "sheet.png", tmp_path / "check.json"
    more = ["--recipe", "retinanet_r50_fpn_1x", "--json", str(found)]
    assert cli.main(["dataset", "check", joined, "--sheet", str(sheet), *more]) == 0
    text = capsys.readouterr().out
    assert "2 x image that is there several times" in text and "the anchors cover boxes" in text
    assert json.loads(found.read_text())["defects"]["train"] == {"image that is there several times": 2}
    assert min(Image.open(sheet).size) > 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "a"], "convert needs a data set and a new folder"),
        (["merge", "a", "b"], "merge needs two data sets or more"),
        (["check", "a", "b"], "check takes one data set"),
        (["stats", "nowhere"], "The data set nowhere does not exist"),
        (["split", str(ASSETS / "coco.json"), "out", "--ratio", "train"], "--ratio train: write NAME=SHARE"),
    ],
)
def test_wrong_arguments(capsys, arguments, message):
    assert cli.main(["dataset", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_anchors_are_printed_and_written(tmp_path, capsys):
    made.yolo(tmp_path / "y", ["0 .5 .5 .2 .9", "0 .5 .5 .1 .4", "1 .5 .5 .1 .5", "1 .5 .5 .05 .2"])
    out = tmp_path / "fitted.yaml"
    given = [
        "anchors",
        "retinanet_r50_fpn_1x",
        "--data",
        str(tmp_path / "y"),
        "--rounds",
        "2",
        "--out",
        str(out),
    ]
    assert cli.main(given) == 0
    text = capsys.readouterr().out
    assert "mean IoU of 4 boxes with their best anchor" in text and "octave_base_scale" in text
    recipe = kdet.config.Config.load(out)
    assert recipe["model"]["bbox_head"]["anchor_generator"]["ratios"] != [0.5, 1.0, 2.0]
