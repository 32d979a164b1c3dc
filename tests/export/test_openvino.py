"""Detectors for OpenVINO, run there beside the model."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.export import ExportError, compared, nodes, openvino
from verification import sweep_exports as sweep

pytest.importorskip("onnx", reason="the package onnx is not installed")
runtime = pytest.importorskip("openvino", reason="the package openvino is not installed")

SIZE = (96, 128)
FEW = {"model.rpn_head.test_proposals.max_per_image": 20}
DETECTORS = {
    # of its own size; OpenVINO gives its labels further names
    "transformer": ("rfdetr_nano", {}, None),
    "masks of regions": ("mask_rcnn_r18_fpn_1x", FEW, SIZE),
}
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "onnx.md"


def small(recipe, changes):
    model = sweep.load_config(recipe, small=True, **changes).build("model")
    sweep.generate_weights(model)
    return model


@pytest.mark.parametrize("shape", DETECTORS)
def test_shapes_of_detectors_find_the_same(shape):
    recipe, changes, size = DETECTORS[shape]
    made = openvino.convert(small(recipe, changes), size, 1, "fp32", 20)
    said = made.checked(openvino.Runner, None, "OpenVINO")
    assert re.match(r"0 of [1-9]\d* detections without|nothing found", said), said
    keras.backend.clear_session()


def test_what_the_docs_say_of_running_a_folder(tmp_path, monkeypatch):
    model = small("retinanet_r18_fpn_1x", {"model.bbox_head.stacked_convs": 1})
    path = model.export(tmp_path / "detector_openvino", "openvino", input_size=SIZE)
    assert sorted(file.name for file in path.iterdir()) == ["model.bin", "model.xml"]
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = (block for block in found if "import openvino" in block)
    image = compared.noise_images(model, *SIZE)[0]
    monkeypatch.chdir(tmp_path)
    names = {"image": image}
    exec(lines, names)  # noqa: S102
    assert names["count"] > 20 and names["boxes"].shape == (names["count"], 4)
    wanted, got = model.predict_on_batch(image[None]), openvino.Runner(path)(image[None])
    difference = compared.difference(wanted, got, compared.Bound(0.01, 1e-3, 1e-3, 0.0))
    assert difference.found > 20 and difference.lost == 0


@pytest.mark.parametrize("groups, deform_groups, masked", [(1, 1, False), (2, 4, True)])
def test_deformable_convolution_without_the_op(groups, deform_groups, masked):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 11, 8)).astype(np.float32)
    kernel = random.normal(size=(3, 3, 8 // groups, 6)).astype(np.float32)
    offsets = random.normal(size=(2, 5, 6, 18 * deform_groups), scale=3.0).astype(np.float32)
    mask = random.uniform(size=(2, 5, 6, 9 * deform_groups)).astype(np.float32)

    def convolve(x, offsets, mask):
        with ops.use("portable"), ops.marks.marking():
            return {
                "y": ops.deform_conv2d(
                    x, kernel, offsets, mask if masked else None, strides=2, padding=1,
                    groups=groups, deform_groups=deform_groups,
                )
            }  # fmt: skip

    given = {"x": x, "offsets": offsets, "mask": mask}
    specs = [tf.TensorSpec(value.shape, name=name) for name, value in given.items()]
    traced = tf.function(convolve, input_signature=specs, autograph=False).get_concrete_function()
    converter = nodes.Converter(kernels={"deform_conv2d": nodes.sampled_deform_conv2d})
    model = converter.model(traced, "test", list(given), {})
    assert {"GridSample", "Conv"} <= {node.op_type for node in model.graph.node}
    read = openvino._read(runtime, model)
    compiled = runtime.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    taken = {name: given[name] for (name,) in (one.names for one in compiled.inputs)}  # else no mask
    np.testing.assert_allclose(compiled(taken)["y"], traced(*given.values())["y"], rtol=1e-4, atol=1e-4)


def test_what_openvino_refuses_is_named():
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("NoSuchOp", ["images"], ["boxes"])
    infos = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("images", "boxes")]
    graph = onnx.helper.make_graph([node], "it", infos[:1], infos[1:])
    with pytest.raises(ExportError, match=r"OpenVINO [\d.]+ cannot take the model: .* format='onnx'"):
        openvino.Runner(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)]))
