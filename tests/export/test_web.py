"""What a browser runs: a file in onnxruntime-web's WebAssembly finds what the detector finds."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from kdet.config import Config
from kdet.export import export_detector
from verification.small import small_variant

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

SCRIPT = pathlib.Path(__file__).with_name("detect_in_node.cjs")
SIZE = (96, 128)


@pytest.fixture(scope="module")
def node():
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    if subprocess.run([program, "-e", "require('onnxruntime-web')"], capture_output=True).returncode:
        pytest.skip("Node.js does not find onnxruntime-web (NODE_PATH names where it is)")
    return program


@pytest.mark.parametrize("name", ["mask_rcnn_r50_fpn_1x", "faster_rcnn_r50_fpn_mdconv_c3-c5_1x"])
def test_detections_in_webassembly(name, node, tmp_path):
    model = small_variant(Config.load(name)).build("model")
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    export_detector(model, tmp_path / "detector.onnx", "onnx", input_size=SIZE)
    (tmp_path / "image.bin").write_bytes(image.tobytes())
    command = [node, SCRIPT, tmp_path / "detector.onnx", tmp_path / "image.bin", *map(str, SIZE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    found = {key: np.reshape(value["data"], value["dims"]) for key, value in answer.items()}
    wanted = model.predict_on_batch(image[None])
    count = int(wanted["num_detections"][0])
    assert count > 0 and found["num_detections"][0] == count
    np.testing.assert_array_equal(found["labels"][0, :count], wanted["labels"][0, :count])
    for key, tolerance in (("boxes", 1e-3), ("scores", 1e-5)):
        np.testing.assert_allclose(found[key][0, :count], wanted[key][0, :count], atol=tolerance)
