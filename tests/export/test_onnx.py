"""Detectors as ONNX files, run under ONNX Runtime beside the model."""

import json
import logging
import pathlib
import re

import keras
import numpy as np
import pytest

from kdet.export import ExportError, compared, nodes, onnx, packages
from verification import sweep_exports as sweep

pytest.importorskip("onnx", reason="the package onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

SIZE = (96, 128)
FEW = {"model.rpn_head.test_proposals.max_per_image": 20}
THIN = {"model.neck.filters": [64, 32, 16], "model.bbox_head.filters": [64, 32, 16]}
# one of each shape of detector, small: recipe, changes, and ops that take the place of loops
DETECTORS = {
    "anchors": ("retinanet_r18_fpn_1x", {}, {"NonMaxSuppression"}),
    "transformer": ("detr_r50_8x2_150e", {}, set()),
    "prototypes": ("yolact_r50_1x8", {"model.preprocessor.size": [128, 96]}, set()),
    "yolo": ("yolov3_d53_320_273e", THIN, {"NonMaxSuppression"}),
    "masks of regions": ("mask_rcnn_r18_fpn_1x", FEW, {"RoiAlign", "NonMaxSuppression"}),
    "given regions": ("fast_rcnn_r18_fpn_1x", {}, {"RoiAlign"}),
    "attention at points": ("deformable_detr_r50_16x2_50e", {}, {"GridSample"}),
}
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "onnx.md"


def small(recipe, changes):
    model = sweep.load_config(recipe, small=True, **changes).build("model")
    sweep.generate_weights(model)
    return model


def kinds_of(proto):
    """Kinds of nodes of a model and of the graphs inside of it."""
    found, pending = set(), [proto.graph]
    while pending:
        graph = pending.pop()
        found |= {node.op_type for node in graph.node}
        pending += [one.g for node in graph.node for one in node.attribute if one.HasField("g")]
    return found


@pytest.mark.parametrize("shape", DETECTORS)
def test_every_shape_of_detector_finds_the_same(shape):
    recipe, changes, wanted = DETECTORS[shape]
    made = onnx.convert(small(recipe, changes), SIZE, 1, "fp32", 20, "onnx")
    kinds = kinds_of(made.proto)
    assert wanted <= kinds and not kinds & {"Loop", "If", "Scan"}
    assert all(not node.domain for node in made.proto.graph.node)
    said = made.checked(onnx.Runner, None, "ONNX")
    assert re.match(r"0 of [1-9]\d* detections without|nothing found", said), said
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def retinanet():
    model = small("retinanet_r18_fpn_1x", {"model.bbox_head.stacked_convs": 1})
    model.class_names = ["date", "fig", "hazelnut"]
    return model


@pytest.fixture(scope="module")
def exported(retinanet, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "sub" / "detector.onnx"
    assert retinanet.export(path, "onnx", input_size=SIZE) == path
    return path


def test_what_the_docs_say_of_running_a_file(retinanet, exported, monkeypatch):
    (lines,) = (block for block in blocks() if "import onnxruntime" in block)
    image = compared.noise_images(retinanet, *SIZE)[0]
    monkeypatch.chdir(exported.parent)
    names = {"image": image}
    exec(lines, names)  # noqa: S102
    wanted = retinanet.predict_on_batch(image[None])
    count = wanted["num_detections"][0]
    assert names["count"] == count > 20 and names["classes"] == ["date", "fig", "hazelnut"]
    np.testing.assert_allclose(names["scores"], wanted["scores"][0, :count], atol=1e-5)
    np.testing.assert_allclose(names["boxes"], wanted["boxes"][0, :count], atol=1e-3)


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_what_a_file_says_of_itself(exported):
    session = onnx.Runner(exported.read_bytes()).session
    (images,) = session.get_inputs()
    assert (images.name, images.shape, images.type) == ("images", [1, *SIZE, 3], "tensor(uint8)")
    shapes = {output.name: (output.shape, output.type) for output in session.get_outputs()}
    assert shapes == {
        "boxes": ([1, 100, 4], "tensor(float)"),
        "labels": ([1, 100], "tensor(int32)"),
        "num_detections": ([1], "tensor(int32)"),
        "scores": ([1, 100], "tensor(float)"),
    }
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["class_names"]) == ["date", "fig", "hazelnut"] and said["pad_divisor"] == "32"


def test_open_batches_and_sizes(retinanet):
    made = onnx.convert(retinanet, "dynamic", "dynamic", "fp32", 0, "onnx")
    runner = onnx.Runner(made.proto)
    assert runner.session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    for batch, height, width in ((1, 64, 96), (3, 128, 96)):
        images = compared.noise_images(retinanet, height, width, batch)
        found = compared.compare("it", runner, made.traced, [images], onnx.BOUNDS["fp32"])
        assert found.found > 20 and found.lost == 0


def test_weights_in_half_of_the_bytes(retinanet, exported, tmp_path):
    path = retinanet.export(tmp_path / "half.onnx", "onnx", input_size=SIZE, dtype="fp16")
    assert path.stat().st_size < 0.6 * exported.stat().st_size
    images = compared.noise_images(retinanet, *SIZE)
    first, second = (onnx.Runner(file.read_bytes())(images) for file in (exported, path))
    found = compared.difference(first, second, onnx.BOUNDS["fp16"])
    assert found.found > 20 and found.lost < 0.2 * found.found and found.score > 0.0


def test_a_file_that_finds_something_else_is_not_written(retinanet, tmp_path, monkeypatch):
    def other_boxes(self, images):
        found = run(self, images)
        return {**found, "boxes": found["boxes"] + 1.0}

    run = onnx.Runner.__call__
    monkeypatch.setattr(onnx.Runner, "__call__", other_boxes)
    with pytest.raises(ExportError, match="exported ONNX model differs from the model: .* without a partner"):
        retinanet.export(tmp_path / "detector.onnx", "onnx", input_size=SIZE)
    assert not list(tmp_path.iterdir())
    retinanet.export(tmp_path / "detector.onnx", "onnx", input_size=SIZE, check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["detector.onnx"]


def test_networks_are_compared_where_nothing_is_found(retinanet, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(retinanet.bbox_head.postprocess, "score_threshold", 2.0)
    with caplog.at_level(logging.INFO, "kdet"):
        retinanet.export(tmp_path / "detector.onnx", "onnx", input_size=SIZE)
    assert re.search("nothing found, the network's outputs differ by .*e-0[5-9] of their size", caplog.text)
    made = onnx.convert(retinanet, SIZE, 1, "fp32", 0, "onnx")
    for weight in made.proto.graph.initializer:
        if len(weight.dims) == 4:
            weight.raw_data = bytes(len(weight.raw_data))
    with pytest.raises(ExportError, match=r"differs from the model at .*Conv.* by .*allowed: 0.10%"):
        made.checked(onnx.Runner, None, "ONNX")


def test_wrong_options(retinanet, tmp_path):
    for options, message in (
        ({"dtype": "int8"}, "dtype is one of fp32, fp16, not 'int8'"),
        ({"input_size": "buckets"}, "input_size is .height, width. or 'dynamic', not 'buckets'"),
        ({"batch": 0}, "from 1 on, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            retinanet.export(tmp_path / "detector.onnx", "onnx", **options)


def test_a_package_that_is_missing_is_named(retinanet, tmp_path, monkeypatch):
    def without_onnx(name, *rest):
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return find(name, *rest)

    find = packages.importlib.import_module
    monkeypatch.setattr(packages.importlib, "import_module", without_onnx)
    with pytest.raises(ImportError, match=r"needs the package onnx, .* pip install 'kdet\[onnx\]'"):
        retinanet.export(tmp_path / "detector.onnx", "onnx")


def test_what_onnx_cannot_hold_is_named_with_the_way_out(retinanet, monkeypatch):
    def refuse(*_):
        raise nodes.Unsupported("Igamma (neck/Igamma): no translation")

    monkeypatch.setattr(nodes.Converter, "model", refuse)
    with pytest.raises(ExportError, match=r"cannot hold Igamma \(neck/Igamma\): no .* way out: a SavedModel"):
        onnx.convert(retinanet, SIZE, 1, "fp32", 0, "onnx")


def test_a_runtime_that_lacks_an_op_is_named(exported):
    content = exported.read_bytes().replace(b"NonMaxSuppression", b"NonMaxSuppressiom")
    with pytest.raises(ExportError, match=r"ONNX Runtime [\d.]+ cannot run .*NonMaxSuppressiom.* newer"):
        onnx.Runner(content)
