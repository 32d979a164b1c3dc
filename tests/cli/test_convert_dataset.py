"""The conversion tool writes what the data room reads."""

import pathlib
import runpy

import pytest

import kdet.data

ROOT = pathlib.Path(__file__).parent.parent.parent
ASSETS = ROOT / "tests" / "assets" / "data"


@pytest.fixture
def convert():
    return runpy.run_path(str(ROOT / "tools" / "convert_dataset.py"))["main"]


@pytest.mark.parametrize(
    ("arguments", "images", "objects"),
    [
        (["--annotations", str(ASSETS / "coco.json"), "--images", str(ASSETS), "--masks"], 3, 4),
        (["--format", "voc", "--annotations", str(ASSETS / "voc/ImageSets/Main/train.txt")], 1, 2),
    ],
)
def test_converts(convert, tmp_path, capsys, arguments, images, objects):
    convert([*arguments, "--out", str(tmp_path / "out")])
    assert "Wrote 1 files, 0 were complete" in capsys.readouterr().out
    index = kdet.data.read_tfrecord(str(tmp_path / "out-*.tfrecord"), masks="--masks" in arguments)
    assert (len(index), sum(len(r.labels) for r in index.records)) == (images, objects)


def test_explains_what_is_wrong(convert, tmp_path, refused):
    arguments = ["--annotations", str(ASSETS / "coco.json"), "--images", str(tmp_path)]
    assert "a.jpg', which does not exist" in refused(convert, [*arguments, "--out", str(tmp_path / "out")])
