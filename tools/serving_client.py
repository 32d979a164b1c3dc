"""Asks a TensorFlow Serving server what is in images, over REST or gRPC.

    python tools/serving_client.py street.jpg kitchen.png --model mask_rcnn --rest http://localhost:8501
    python tools/serving_client.py street.jpg --model mask_rcnn --grpc localhost:8500

Sends the files as they are to the signature ``serving_bytes``. Needs no kdet; gRPC needs
``pip install tensorflow-serving-api``.
"""

import argparse
import base64
import sys

SIGNATURE, INPUT = "serving_bytes", "encoded"
# of the server: masks of many images are large
MAX_MESSAGE = 1 << 30


def ask_rest(url, model, images, timeout=60):
    """Detections over REST.

    Args:
        url: of the server, ``http://host:8501``.
        model: its name there.
        images: list of encoded images (bytes).
        timeout: seconds.

    Returns:
        Per image a dict of lists: ``detection_boxes``, ``detection_scores`` ...

    Raises:
        ValueError: the address is none of REST. RuntimeError: what the server answers instead.
    """
    import requests

    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--rest takes an address as http://host:8501, not {url!r}.")
    instances = [{INPUT: {"b64": base64.b64encode(image).decode()}} for image in images]
    body = {"signature_name": SIGNATURE, "instances": instances}
    answer = requests.post(f"{url}/v1/models/{model}:predict", json=body, timeout=timeout)
    if not answer.ok:
        raise RuntimeError(f"{url}: {answer.status_code} {answer.text}")
    return answer.json()["predictions"]


def ask_grpc(address, model, images, timeout=60):
    """Detections over gRPC: as ``ask_rest``, with arrays instead of lists; ``address`` is ``host:8500``."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
    request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(images, tf.string))
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE) for way in ("send", "receive")]
    with grpc.insecure_channel(address, limits) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            answer = stub.Predict(request, timeout)
        except grpc.RpcError as error:
            raise RuntimeError(f"{address}: {error.code().name} {error.details()}") from error
    found = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
    return [{name: value[i] for name, value in found.items()} for i in range(len(images))]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help="JPEG or PNG files")
    parser.add_argument("--model", required=True, help="name of the model on the server")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", metavar="URL", help="http://host:8501")
    server.add_argument("--grpc", metavar="ADDRESS", help="host:8500")
    parser.add_argument("--min-score", type=float, default=0.3)
    options = parser.parse_args(arguments)
    encoded = []
    for path in options.images:
        with open(path, "rb") as file:
            encoded.append(file.read())
    ask, where = (ask_rest, options.rest) if options.rest else (ask_grpc, options.grpc)
    for path, found in zip(options.images, ask(where, options.model, encoded)):
        rows = zip(found["detection_scores"], found["detection_classes"], found["detection_boxes"])
        for score, label, box in list(rows)[: int(found["num_detections"])]:
            if score >= options.min_score:
                print(f"{path}: class {int(label)} {score:.3f} {[round(float(v), 4) for v in box]}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"serving_client: {error}")
