"""The protocols of TensorFlow Serving: its messages against an exported model, over real sockets."""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import runpy
import threading

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops, zoo
from kdet.data import decoding, preprocess_images

CLIENT = pathlib.Path(__file__).parent.parent.parent / "tools" / "serving_client.py"
client = runpy.run_path(str(CLIENT))


@pytest.fixture(scope="module")
def model():
    overrides = {"model.preprocessor.size": [96, 64], "model.bbox_head.stacked_convs": 1}
    model = zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3, **overrides)
    bias = model.bbox_head.retina_cls.bias
    bias.assign(tf.zeros_like(bias))
    return model


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    path = model.export(tmp_path_factory.mktemp("served") / "retinanet" / "1")
    return tf.saved_model.load(path).signatures


@pytest.fixture(scope="module")
def images():
    """A JPEG and a PNG of different sizes."""
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 255, (h, w, 3)).astype(np.uint8) for h, w in [(48, 72), (60, 90)]]
    return [tf.io.encode_jpeg(pixels[0]).numpy(), tf.io.encode_png(pixels[1]).numpy()]


def expected(model, image):
    """What the model itself says, in the names and forms of the zoo."""
    with ops.use("portable"):
        found = {key: value[0] for key, value in model.predict([image]).items()}
    height, width = decoding.size_of(image)
    return {
        "detection_boxes": found["boxes"][:, [1, 0, 3, 2]] / [height, width, height, width],
        "detection_scores": found["scores"],
        "detection_classes": found["labels"] + 1,
        "num_detections": found["num_detections"],
    }


def check(model, image, found):
    wanted = expected(model, image)
    assert wanted["num_detections"] > 0
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=2e-4, err_msg=key)


@contextlib.contextmanager
def rest_server(signatures):
    """A server of TensorFlow Serving's REST form (rows of instances, strings as b64)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/models/retinanet:predict":
                self.send_error(404, f"no {self.path}")
                return
            rows = [base64.b64decode(row["encoded"]["b64"]) for row in body["instances"]]
            found = signatures[body["signature_name"]](encoded=tf.constant(rows))
            columns = {key: value.numpy().tolist() for key, value in found.items()}
            rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
            answer = json.dumps({"predictions": rows}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_rest(model, signatures, images):
    with rest_server(signatures) as url:
        answers = client["ask_rest"](url, "retinanet", images)
        with pytest.raises(RuntimeError, match="404"):
            client["ask_rest"](url, "another", images)
    for image, found in zip(images, answers, strict=True):
        check(model, image, found)


@contextlib.contextmanager
def grpc_server(signatures):
    """A server of TensorFlow Serving's ``PredictionService``."""
    grpc = pytest.importorskip("grpc")
    reason = "tensorflow-serving-api is not installed (it is in the extra 'dev')"
    service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc", reason=reason)
    from tensorflow_serving.apis import predict_pb2

    class Servicer(service.PredictionServiceServicer):
        def Predict(self, request, context):
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            traced = signatures[request.model_spec.signature_name]
            spec = traced.structured_input_signature[1]
            tensors = {key: tf.constant(value, spec[key].dtype) for key, value in inputs.items()}
            answer = predict_pb2.PredictResponse(model_spec=request.model_spec)
            for key, value in traced(**tensors).items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return answer

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def test_grpc(model, signatures, images):
    with grpc_server(signatures) as address:
        answers = client["ask_grpc"](address, "retinanet", images)
    for image, found in zip(images, answers, strict=True):
        check(model, image, found)


def test_clients_say_what_is_wrong():
    with pytest.raises(ValueError, match="http://host:8501, not 'localhost:8501'"):
        client["ask_rest"]("localhost:8501", "retinanet", [b""])
    with grpc_server({}) as address:
        pass  # it has gone
    with pytest.raises(RuntimeError, match=f"{address}: (UNAVAILABLE|DEADLINE_EXCEEDED)"):
        client["ask_grpc"](address, "retinanet", [b""], timeout=5)


def test_wide_and_tall_images_see_the_square_canvas_of_both(model, signatures, images):
    random = np.random.default_rng(1)
    tall = tf.io.encode_png(random.integers(0, 255, (72, 48, 3)).astype(np.uint8)).numpy()
    mixed = [images[0], tall]
    found = signatures["serving_bytes"](encoded=tf.constant(mixed))
    rule = model.preprocessor
    inputs = preprocess_images(mixed, list(rule.size), divisor=rule.pad_divisor)
    assert inputs["images"].shape[1:3] == (96, 96)
    with ops.use("portable"):
        wanted = model(inputs, training=False)
    height, width = tf.unstack(inputs["original_size"][:, None], axis=-1)
    boxes = tf.gather(wanted["boxes"], [1, 0, 3, 2], axis=-1) / tf.stack([height, width] * 2, -1)
    assert wanted["num_detections"].numpy().min() > 0
    np.testing.assert_allclose(found["detection_boxes"], boxes, atol=2e-4)
    np.testing.assert_allclose(found["detection_scores"], wanted["scores"], atol=2e-4)


@pytest.mark.parametrize("broken", [b"", b"no image", b"\xff\xd8 no JPEG"])
def test_broken_images_are_errors(signatures, images, broken):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["serving_bytes"](encoded=tf.constant([images[0], broken]))


def test_the_signatures_agree(model, signatures, images):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=images[:1]))
    example = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature}))
    by_bytes = signatures["serving_bytes"](encoded=tf.constant(images[:1]))
    by_example = signatures["serving_tf_example"](examples=tf.constant([example.SerializeToString()]))
    pixels = tf.io.decode_jpeg(images[0], dct_method="INTEGER_ACCURATE")
    by_array = signatures["serving_default"](images=pixels[None])
    for key, value in by_bytes.items():
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(by_example[key], value)
        np.testing.assert_array_equal(by_array[key], value)
