"""What cannot be exported says why, and what to do."""

import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import export, zoo
from kdet.export.naming import Naming
from kdet.export.saved_model import shape_of

TOOL = pathlib.Path(__file__).parent.parent.parent / "tools" / "export.py"


@pytest.fixture(scope="module")
def model():
    overrides = {"model.preprocessor.size": [96, 64], "model.bbox_head.stacked_convs": 1}
    return zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3, **overrides)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onnx"}, "format is one of saved_model, tf_saved_model, tflite, litert, not 'onnx'"),
        ({"dtype": "int8"}, "one of fp32, bf16, fp16, not 'int8'; int8 is there for format='tflite'"),
        ({"box_format": "yx"}, "box_format is one of rel_yxyx"),
        ({"masks": "whole"}, "masks is one of box, picture, not 'whole'"),
        ({"ops": "fast"}, "ops is 'portable' or 'compiled', not 'fast'"),
        ({"input_size": "wide"}, "as in 800x1344, not 'wide'"),
    ],
)
def test_bad_options_are_named(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "1", **options)
    assert not list(tmp_path.iterdir())


def test_the_layer_that_cannot_be_traced_is_named(model):
    class Stubborn(keras.layers.Layer):
        def call(self, images):
            if images.shape[1] is None:
                raise ValueError("a known height is needed")
            return images

    layer = Stubborn(name="mule")
    program = export.Program(model)
    spec = tf.TensorSpec([1, None, None, 3], tf.uint8)
    with pytest.raises(export.ExportError, match="Stubborn 'mule' .*a known height.*--input HEIGHTxWIDTH"):
        program.trace(layer.call, spec)


def test_python_in_the_graph_is_refused(model):
    def impure(images):
        return tf.numpy_function(lambda x: x, [images], tf.uint8, name="snake")

    with pytest.raises(export.ExportError, match="snake is a PyFunc, which TensorFlow alone cannot run"):
        export.Program(model).trace(impure, tf.TensorSpec([1], tf.uint8))


def test_sizes():
    assert shape_of("dynamic") is None
    assert shape_of("800x1344") == shape_of((800, 1344)) == shape_of([800.0, 1344]) == (800, 1344)
    for wrong in ("800", "0x10", (1, 2, 3), None):
        with pytest.raises(ValueError, match="input size"):
            shape_of(wrong)


@pytest.mark.parametrize(
    ("box_format", "expected"),
    [
        ("rel_yxyx", [0.1, 0.1, 0.3, 0.2]),
        ("rel_xyxy", [0.1, 0.1, 0.2, 0.3]),
        ("yxyx", [10, 20, 30, 40]),
        ("xyxy", [20, 10, 40, 30]),
        ("xywh", [20, 10, 20, 20]),
    ],
)
def test_forms_of_boxes(box_format, expected):
    detections = {
        "boxes": tf.constant([[[20.0, 10, 40, 30], [0, 0, 0, 0]]]),
        "scores": tf.constant([[0.5, 0]]),
        "labels": tf.constant([[7, -1]]),
        "num_detections": tf.constant([1]),
    }
    naming, size = Naming(box_format, label_offset=1), tf.constant([[100.0, 200.0]])
    found = naming(detections, size)
    np.testing.assert_allclose(
        naming.read_boxes(found["detection_boxes"], size), detections["boxes"], rtol=1e-6
    )
    np.testing.assert_allclose(found["detection_boxes"], [[expected, [0] * 4]], rtol=1e-6)
    np.testing.assert_array_equal(found["detection_classes"], [[8, 0]])
    assert all(value.dtype == tf.float32 for value in found.values())


def test_the_tool_says_what_is_wrong():
    main = runpy.run_path(str(TOOL))["main"]
    with pytest.raises(SystemExit, match="--format tflite has no --ops or --box-format"):
        main(["ssd300", "--out", "x.tflite", "--format", "tflite", "--masks", "box"])
