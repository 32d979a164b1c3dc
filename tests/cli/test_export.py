"""The tool that exports: its options, fixed canvases and batches, and what it says when it cannot."""

import pathlib
import re
import runpy

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.detectors.exporting import Exporting
from kdet.export import litert
from kdet.ops import compiled

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT / "tests" / "assets" / "data"
main = runpy.run_path(str(ROOT / "tools" / "export.py"))["main"]
THIN = ["retinanet_r18_fpn_1x", "--set", "model.num_classes=3", "model.neck.out_channels=32"]
THIN += ["model.bbox_head.filters=32", "model.bbox_head.stacked_convs=1"]
TRIAL = [*THIN, "--weights", "none", "--input", "64x96", "--batch", "2"]
IMAGES = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3)).astype(np.uint8)


def test_saved_model_of_one_canvas_and_batch(tmp_path):
    main([*TRIAL, "--out", str(tmp_path / "1")])
    detect = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    assert detect.structured_input_signature[1]["images"].shape.as_list() == [2, None, None, 3]
    for given in (IMAGES, IMAGES[:, :30, :50]):  # whatever their size: the canvas is inside
        found = detect(images=tf.constant(given))
        assert found["detection_boxes"].shape == (2, 100, 4)
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        detect(images=tf.constant(IMAGES[:1]))


def test_tflite_of_one_canvas_and_batch(tmp_path, capsys):
    path = tmp_path / "trial.tflite"
    main([*TRIAL, "--format", "tflite", "--out", str(path)])
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
    found = litert.Runner(path.read_bytes())(IMAGES)
    assert found["boxes"].shape == (2, 100, 4) and np.isfinite(found["boxes"]).all()


def test_int8_measures_on_the_data_of_the_recipe(tmp_path):
    path = tmp_path / "trial.tflite"
    data = [f"data.train.annotations={DATA / 'coco.json'}", f"data.train.images={DATA}", "data.classes=null"]
    main([*TRIAL, "--set", *data, "--format", "tflite", "--dtype", "int8", "--out", str(path)])
    assert any(
        detail["dtype"] == np.int8
        for detail in litert.Runner(path.read_bytes()).interpreter.get_tensor_details()
    )


@pytest.mark.parametrize("ending", ["weights.h5", "keras", "pth"])
def test_weights_of_every_form(tmp_path, monkeypatch, ending):
    exported = []
    monkeypatch.setattr(Exporting, "export", lambda model, path, *_, **__: exported.append(model) or path)
    main([*TRIAL, "--out", str(tmp_path)])
    file = tmp_path / f"model.{ending}"
    save(exported[0], file)
    main([*THIN, "--weights", str(file), "--out", str(tmp_path)])
    for ours, theirs in zip(*(model.get_weights() for model in exported), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def save(model, file):
    if file.suffix == ".pth":
        convert.save_checkpoint(model, file)
    elif file.suffix == ".h5":
        model.save_weights(file)
    else:
        model.save(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "abc"], "The batch is 'dynamic' or a number of images from 1 on, not 'abc'"),
        (["--batch", "0"], "from 1 on, not '0'"),
        (["--input", ""], "as in 800x1344, not ''"),
        (["--out", __file__], "test_export.py is a file"),
        (["--out", f"{__file__}/1"], "test_export.py is a file, not a folder"),
        (["--format", "tflite", "--out", str(DATA)], "is a folder"),
        (["--ops", "compiled"], "The ops are not compiled"),
        (["--no-check"], "--no-check: a SavedModel is not compared"),
        (["--format", "tflite", "--masks", "box", "--ops", "portable"], "--format tflite has no --ops or"),
    ],
)
def test_what_cannot_be_is_said_before_a_model_is_built(tmp_path, monkeypatch, refused, arguments, message):
    missing = compiled.Unavailable("The ops are not compiled.")
    monkeypatch.setattr(compiled, "_load", lambda: (None, missing))
    said = refused(main, ["no such recipe", "--out", str(tmp_path / "1"), *arguments])
    assert re.match(f"kdet export: .*{message}", said)


def test_weights_that_cannot_be_had(tmp_path, refused):
    said = refused(main, ["mask_rcnn_r18_fpn_1x", "--out", str(tmp_path / "1")])
    assert re.match("kdet export: No weights were published.*, or --weights none for random", said)


def test_int8_without_the_data_of_the_recipe(tmp_path, refused):
    missing = ["--format", "tflite", "--dtype", "int8", "--set", "data.train.annotations=none.json"]
    said = refused(main, [*TRIAL, *missing, "--out", str(tmp_path / "m.tflite")])
    assert re.match("kdet export: .*none.json does not.*--set data.train.annotations=FILE", said)
