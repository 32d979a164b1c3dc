"""Detectors that compute in bfloat16 or float16, served in it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.export import compared, litert, saved_model
from kdet.export.precision import in_precision

# of boxes (pixels) and scores: a few steps of the network's numbers, 8 and 11 bits long
BOUNDS = {"bf16": compared.Bound(1.0, 0.02, 0.0, 0.1), "fp16": compared.Bound(0.1, 0.003, 0.0, 0.1)}


@pytest.fixture(scope="module")
def model(generated):
    thin = {"neck.out_channels": 32, "bbox_head.filters": 32, "bbox_head.stacked_convs": 1, "num_classes": 3}
    changes = {f"model.{key}": value for key, value in thin.items()}
    return generated("retinanet_r18_fpn_1x", {"model.preprocessor.size": [96, 64], **changes})


def test_a_copy_in_another_precision(model):
    copy = in_precision(model, "bf16")
    assert in_precision(model, None) is in_precision(model, "fp32") is model
    assert copy.backbone.compute_dtype == "bfloat16" and model.backbone.compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_saved_models_of_less_precision_find_the_same(model, tmp_path, dtype):
    images = compared.noise_images(model, 64, 96)
    path = model.export(tmp_path / "1", dtype=dtype, box_format="xyxy", label_offset=0)
    loaded = tf.saved_model.load(path)
    assert json.loads((tmp_path / "1" / saved_model.DESCRIPTION).read_text())["dtype"] == dtype
    kept = {variable.dtype for variable in loaded.signatures["serving_default"].variables}
    assert kept <= {tf.float32, tf.int32, tf.int64}
    served = loaded.signatures["serving_default"](images=tf.constant(images))
    assert all(value.dtype == tf.float32 for value in served.values())
    with ops.use("portable"):
        wanted = model.predict(images)
    got = {key.removeprefix("detection_"): value.numpy() for key, value in served.items()}
    got = {"labels": got.pop("classes"), **got, "num_detections": got["num_detections"].astype(int)}
    found = compared.difference(wanted, got, BOUNDS[dtype])
    assert found.found > 20 and found.lost <= 0.1 * found.found, found
    assert found.box > 0.0  # it did compute in other numbers


def test_tflite_files_of_mixed_precision_models_are_float32(model, tmp_path):
    copy = in_precision(model, "bf16")
    path = copy.export(tmp_path / "m.tflite", "tflite", input_size=(64, 96), select_tf_ops=False)
    images = compared.noise_images(model, 64, 96)
    got, wanted = litert.Runner(path.read_bytes())(images), model.predict_on_batch(images)
    found = compared.difference(wanted, got, compared.Bound(1e-3, 1e-3, 0.0, 0.0))
    assert found.found > 20 and not found.lost, found
