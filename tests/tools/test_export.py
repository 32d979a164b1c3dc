"""The tool that exports: fixed canvases and batches, and models without a checkpoint."""

import pathlib
import runpy

import numpy as np
import pytest
import tensorflow as tf

from kdet.export import litert

main = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "tools" / "export.py"))["main"]
TRIAL = ["retinanet_r18_fpn_1x", "--weights", "none", "--input", "64x96", "--batch", "2", "--set"]
TRIAL += ["model.num_classes=3", "model.neck.out_channels=32", "model.bbox_head.filters=32"]
TRIAL += ["model.bbox_head.stacked_convs=1"]
PICTURES = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3)).astype(np.uint8)


def test_saved_model_of_one_canvas_and_batch(tmp_path):
    main([*TRIAL, "--out", str(tmp_path / "1")])
    detect = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    assert detect.structured_input_signature[1]["images"].shape.as_list() == [2, None, None, 3]
    for pictures in (PICTURES, PICTURES[:, :30, :50]):  # whatever their size: the canvas is inside
        found = detect(images=tf.constant(pictures))
        assert found["detection_boxes"].shape == (2, 100, 4)
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        detect(images=tf.constant(PICTURES[:1]))


def test_tflite_of_one_canvas_and_batch(tmp_path, capsys):
    path = tmp_path / "trial.tflite"
    main([*TRIAL, "--format", "tflite", "--out", str(path)])
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
    found = litert.Runner(path.read_bytes())(PICTURES)
    assert found["boxes"].shape == (2, 100, 4) and np.isfinite(found["boxes"]).all()
