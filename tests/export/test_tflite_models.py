"""Shapes of one-stage detectors, thin, as TFLite files: all their outputs are the model's."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kdet.export import Program, compared, litert, tflite

ROOT = pathlib.Path(__file__).parents[2]
THIN = {"model.backbone.depth": 18, "model.neck.out_channels": 32, "model.bbox_head.filters": 32}
NARROW = [64, 32, 16]
MODELS = {
    "ssd": (ROOT / "benchmarks" / "recipes" / "ssd_r18_bccd.yaml", {}),
    "yolov3": ("yolov3_d53_320_273e", {"model.neck.filters": NARROW, "model.bbox_head.filters": NARROW}),
    "atss": ("atss_r50_fpn_1x", {**THIN, "model.bbox_head.stacked_convs": 1}),
    "gfl": ("gfl_r50_fpn_1x", {**THIN, "model.bbox_head.stacked_convs": 1}),
    "fcos": ("fcos_r50_caffe_fpn_gn-head_1x", {**THIN, "model.bbox_head.stacked_convs": 1}),
    "yolact": ("yolact_r50_1x8", {**THIN, "model.mask_head.filters": 32}),
}


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_are_the_models(kind, generated):
    model = generated(*MODELS[kind])
    images = compared.noise_images(model, 128, 160, batch=2)
    traced = Program(model).on_canvas(128, 160, batch=2)
    content, select = tflite.convert(traced, model.name)
    assert select == []
    got = litert.Runner(content)(images)
    assert ("masks" in got) == (kind == "yolact") and got["num_detections"].min() > 10
    for wanted in (traced(tf.constant(images)), model.predict_on_batch(images)):
        assert set(got) == set(wanted)
        for key, value in wanted.items():
            np.testing.assert_allclose(got[key], value, atol=1e-3, err_msg=key)


def test_int8_of_a_deformable_model(generated, tmp_path):
    model = generated("vfnet_r50_fpn_1x", {**THIN, "model.bbox_head.stacked_convs": 1})
    images = compared.noise_images(model, 64, 96, batch=2)
    path = model.export(
        tmp_path / "model.tflite", "tflite", input_size=(64, 96), dtype="int8", representative=list(images)
    )
    got = litert.Runner(path.read_bytes())(images[:1])
    found = compared.difference(model.predict_on_batch(images[:1]), got, tflite.BOUNDS["int8"])
    assert found.found > 5 and found.lost < 0.5 * found.found
