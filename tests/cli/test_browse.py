"""The browse tool on the tiny dataset, from the command line's arguments."""

import pathlib
import re
import runpy

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent.parent
ASSETS = ROOT / "tests" / "assets" / "data"


@pytest.fixture
def browse():
    return runpy.run_path(str(ROOT / "tools" / "browse.py"))["main"]


def test_draws_annotations(browse, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    browse(
        ["--annotations", str(ASSETS / "coco.json"), "--images", str(ASSETS), "--masks"]
        + ["--count", "3", "--split", "val", "--out", str(out)]
    )
    text = capsys.readouterr().out
    assert "3 images, 4 objects of 2 classes" in text
    assert "skipped 1 x box outside the image (e.g. annotation 6 of b.png)" in text
    sheet = tf.io.decode_png(out.read_bytes()).numpy()
    assert sheet.shape[0] > 800 and sheet.std() > 20


def test_draws_a_recipe(browse, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"""
data:
  classes: [dog]
  train:
    annotations: {ASSETS / "coco.json"}
    images: {ASSETS}
    transforms: [{{type: Resize, sizes: [[133, 80]]}}, {{type: RandomFlip}}]
"""
    )
    out = tmp_path / "sheet.png"
    browse([str(recipe), "--set", "data.train.transforms.RandomFlip=null", "--count", "2", "--out", str(out)])
    assert tf.io.decode_png(out.read_bytes()).shape[2] == 3


def test_explains_what_is_wrong(browse, refused):
    given = ["--annotations", "nowhere.json"]
    assert re.search(r"nowhere.json.? does not exist", refused(browse, [*given, "--images", str(ASSETS)]))
    both = ["--annotations", "a.json", "--data", "b"]
    assert "give either a recipe, --annotations or --data" in refused(browse, both)
