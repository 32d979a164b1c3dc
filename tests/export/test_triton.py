"""An exported model behind a real server: Triton, where ``nvidia-pytriton`` is installed.

It is in no extra of kdet: its server runs only under some interpreters (Debian's own Python 3.11 is one), and
with NumPy 2 it hands back empty arrays. There: ``pip install nvidia-pytriton "numpy<2"``.
"""

import socket

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops, zoo

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")
if np.__version__ >= "2":
    pytest.skip("nvidia-pytriton needs NumPy 1", allow_module_level=True)
from pytriton.client import ModelClient
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_triton_serves_what_predict_says(tmp_path):
    overrides = {"model.preprocessor.size": [96, 64], "model.bbox_head.stacked_convs": 1}
    model = zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3, **overrides)
    bias = model.bbox_head.retina_cls.bias
    bias.assign(tf.zeros_like(bias))
    path = model.export(tmp_path / "1", box_format="xyxy", label_offset=0)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 72, 3)).astype(np.uint8)
    detect = tf.saved_model.load(path).signatures["serving_default"]

    def infer(requests):
        found = [detect(images=tf.constant(request["images"])) for request in requests]
        return [{name: value.numpy() for name, value in one.items()} for one in found]

    outputs = [Tensor(name="detection_boxes", dtype=np.float32, shape=(-1, 4))]
    outputs += [
        Tensor(name=f"detection_{key}", dtype=np.float32, shape=(-1,)) for key in ("scores", "classes")
    ]
    ports = {f"{kind}_port": free_port() for kind in ("http", "grpc", "metrics")}
    with Triton(config=TritonConfig(**ports, log_verbose=0), workspace=str(tmp_path / "triton")) as server:
        server.bind(
            model_name="retinanet",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.uint8, shape=(-1, -1, 3))],
            outputs=outputs,
            config=ModelConfig(max_batch_size=4),
        )
        server.run()
        with ModelClient(f"http://localhost:{ports['http_port']}", "retinanet") as client:
            found = client.infer_batch(images=pixels[None])
    with ops.use("portable"):
        wanted = model.predict([pixels])
    assert wanted["num_detections"][0] > 0
    for ours, served in (("boxes", "boxes"), ("scores", "scores"), ("labels", "classes")):
        np.testing.assert_allclose(found[f"detection_{served}"], wanted[ours], atol=1e-3, err_msg=ours)
