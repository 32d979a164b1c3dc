"""What cannot be exported says why, and what to do."""

import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import export, zoo
from kdet.export import explain, target
from kdet.export.formats import find_format
from kdet.export.naming import Naming
from kdet.export.options import batch_of, shape_of
from kdet.layers import Conv2D
from kdet.ops import compiled

TOOL = pathlib.Path(__file__).parent.parent.parent / "tools" / "export.py"


@pytest.fixture(scope="module")
def model():
    overrides = {"model.preprocessor.size": [96, 64], "model.bbox_head.stacked_convs": 1}
    return zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3, **overrides)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"format": "pmml"},
            "format is one of litert, onnx, openvino, preset, saved_model, .*tflite, not 'pmml'",
        ),
        ({"dtype": "int8"}, "one of fp32, bf16, fp16, not 'int8'; int8 is there for format='tflite'"),
        ({"box_format": "yx"}, "box_format is one of rel_yxyx"),
        ({"masks": "whole"}, "masks is one of box, image, not 'whole'"),
        ({"ops": "fast"}, "ops is 'portable' or 'compiled', not 'fast'"),
        ({"input_size": "wide"}, "as in 800x1344, not 'wide'"),
        ({"batch": 0}, "'dynamic' or a number of images from 1 on, not 0"),
        ({"label_offset": -1}, "label_offset, the number of the first class, .* from 0 on, not -1"),
        ({"label_offset": "a"}, "whole number from 0 on, not 'a'"),
        ({"label_offset": 1.5}, "whole number from 0 on, not 1.5"),
        (
            {"input_signature": None},
            "'saved_model' has no option 'input_signature'. It has input_size, batch",
        ),
        (
            {"representative": []},
            "no option 'representative'; it is an option of format='tflite'. It has inp",
        ),
        (
            {"format": "litert", "masks": "box"},
            "'tflite' has no option 'masks'; it is an option of format='s",
        ),
    ],
)
def test_bad_options_are_named(model, tmp_path, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model.export(tmp_path / "1", **options)
    assert not list(tmp_path.iterdir())


def test_compiled_ops_need_the_library(model, tmp_path, monkeypatch):
    missing = compiled.Unavailable("The ops are not compiled.")
    monkeypatch.setattr(compiled, "_load", lambda: (None, missing))
    with pytest.raises(compiled.Unavailable, match="not compiled"):
        model.export(tmp_path / "1", ops="compiled")


def test_the_layer_that_cannot_be_traced_is_named(model):
    class Stubborn(keras.layers.Layer):
        def call(self, images):
            if images.shape[1] is None:
                raise ValueError("a known height is needed")
            return images

    layer = Stubborn(name="mule")
    program = export.Program(model)
    spec = tf.TensorSpec([1, None, None, 3], tf.uint8)
    message = (
        r"Stubborn 'mule' .* a dynamic canvas .*a known height is needed.*a fixed one.*--input HEIGHTxWIDTH"
    )
    with pytest.raises(export.ExportError, match=message):
        program.trace(layer.call, spec)


def test_a_canvas_that_is_too_small_is_named_with_the_layer_and_the_cause():
    class Shrinking(keras.layers.Layer):
        takes_proposals = False

        def __init__(self):
            super().__init__(name="thing")
            self.extra = [Conv2D(2, 3), Conv2D(2, 3)]

        def call(self, images):
            for layer in self.extra:
                images = layer(images)
            return images

    model = Shrinking()
    model(tf.zeros([1, 8, 8, 3]))
    cause = (
        r"Negative dimension size caused by subtracting 3 from 2 with input shapes: \[1,2,3,2\], \[3,3,2,2\]"
    )
    message = rf"Conv2D 'extra.1' .* a canvas of 4x5 \({cause}\). The way out: where .*, a larger one"
    with pytest.raises(export.ExportError, match=message):
        export.Program(model).trace(model, tf.TensorSpec([1, 4, 5, 3]), canvas=(4, 5))


def test_parts_are_found_by_their_attributes(model):
    assert explain.path(model, model.bbox_head.retina_cls) == "bbox_head.retina_cls"
    assert explain.path(model, keras.layers.ReLU()) is None


def test_where_nothing_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path, kind, message in (
        (file, "saved_model", "file is a file, a SavedModel is a folder"),
        (tmp_path, "tflite", "is a folder: name a .tflite file in it"),
        (file / "sub" / "1", "saved_model", "file is a file, not a folder"),
        ("/proc/none/1", "saved_model", "/proc takes no file"),
    ):
        with pytest.raises(OSError, match=message):
            target.check(path, find_format(kind))
    target.check(file, find_format("tflite"))
    target.check(tmp_path / "a" / "1", find_format("saved_model"))
    assert list(tmp_path.iterdir()) == [file]


def test_python_in_the_graph_is_refused(model):
    def impure(images):
        return tf.numpy_function(lambda x: x, [images], tf.uint8, name="snake")

    with pytest.raises(export.ExportError, match="snake is a PyFunc, which TensorFlow alone cannot run"):
        export.Program(model).trace(impure, tf.TensorSpec([1], tf.uint8))


def test_sizes():
    assert shape_of("dynamic") is None and shape_of("buckets") == "buckets"
    assert shape_of("800x1344") == shape_of((800, 1344)) == shape_of([800.0, 1344]) == (800, 1344)
    for wrong in ("800", "0x10", "", "1.5x2", (1.5, 2), (1, 2, 3), None):
        with pytest.raises(ValueError, match="input size"):
            shape_of(wrong)


def test_batches():
    assert batch_of("dynamic") is batch_of(None) is None
    assert batch_of("8") == batch_of(np.int64(8)) == 8
    for wrong in ("abc", "1.5", 1.5, "-1", 0, True, ""):
        with pytest.raises(ValueError, match=f"from 1 on, not {wrong!r}"):
            batch_of(wrong)


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


def test_the_tool_says_what_is_wrong(refused):
    main = runpy.run_path(str(TOOL))["main"]
    arguments = ["ssd300", "--out", "x.tflite", "--format", "tflite", "--masks", "box"]
    assert "--format tflite has no --ops or --box-format" in refused(main, arguments)
