"""What TensorFlow Serving needs beside the models: which there are, how requests are batched, first requests.

The three configurations are text protocol buffers of TensorFlow Serving
(https://www.tensorflow.org/tfx/serving/serving_config); warm-up requests are described at
https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from kdet.errors import KdetError, MissingFile
from kdet.typing import Pair, PathLike
from kdet.writing import whole

MODELS, BATCHING, COMPOSE = "models.config", "batching.config", "docker-compose.yml"
WARM_UP = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
WARM_UP_SIGNATURE = "serving_bytes"


@dataclasses.dataclass(frozen=True)
class Batching:
    """How the server puts requests together.

    Attributes:
        max_batch_size: most images that go through together.
        timeout_ms: how long the first image of a batch waits for others.
        threads: batches that are computed at the same time; None for the server's choice, the processors.
        queue: batches that may wait; more requests are refused, so that clients notice.
    """

    max_batch_size: int = 8
    timeout_ms: float = 5.0
    threads: int | None = None
    queue: int = 100

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "queue", "threads"):
            value = vars(self)[name]
            if value is not None and value < 1:
                raise KdetError(f"{name} must be at least 1, not {value}.")
        if not 0 <= self.timeout_ms < 60_000:
            raise KdetError(f"timeout_ms must be between 0 and 60000, not {self.timeout_ms}.")

    @property
    def allowed(self) -> list[int]:
        """Sizes of batches: powers of two and the largest; others are filled up, so that graphs stay few."""
        powers = [2**i for i in range(self.max_batch_size.bit_length()) if 2**i < self.max_batch_size]
        return [*powers, self.max_batch_size]

    def text(self) -> str:
        """As the server reads it."""
        values = {
            "max_batch_size": self.max_batch_size,
            "batch_timeout_micros": round(self.timeout_ms * 1000),
            "max_enqueued_batches": self.queue,
            **({} if self.threads is None else {"num_batch_threads": self.threads}),
        }
        lines = [f"{name} {{ value: {value} }}" for name, value in values.items()]
        return "\n".join([*lines, *(f"allowed_batch_sizes: {size}" for size in self.allowed)]) + "\n"


def find_models(folder: PathLike) -> dict[str, list[pathlib.Path]]:
    """Return the versions, oldest first, of all models in a folder: ``folder/name/version/saved_model.pb``.

    Raises:
        MissingFile: there is no such folder, or no model in it.
    """
    found: dict[str, list[pathlib.Path]] = {}
    for file in pathlib.Path(folder).glob("*/*/saved_model.pb"):
        if file.parent.name.isdigit():
            found.setdefault(file.parents[1].name, []).append(file.parent)
    if not found:
        raise MissingFile(f"{folder} holds no models; they are looked for at {folder}/NAME/VERSION.")
    return {name: sorted(found[name], key=lambda path: int(path.name)) for name in sorted(found)}


def write_config(
    folder: PathLike,
    out: PathLike,
    batching: Batching | None = None,
    image: str = "tensorflow/serving",
    ports: tuple[int, int] = (8500, 8501),
) -> list[pathlib.Path]:
    """Write the configurations of a server of all models in a folder, and a compose file that starts it.

    Args:
        folder: ``folder/name/version`` are SavedModels of ``Detector.export``.
        out: where the files go.
        batching: how requests are put together; None for one at a time.
        image: the container; by default the newest of TensorFlow Serving.
        ports: of gRPC and REST on this machine.

    Returns:
        The files.

    Raises:
        MissingFile: there is no model in ``folder``.
    """
    models = find_models(folder)
    texts = {MODELS: models_text(models), COMPOSE: compose_text(folder, out, batching, image, ports)}
    if batching is not None:
        texts[BATCHING] = batching.text()
    written = []
    for name, text in texts.items():
        path = pathlib.Path(out) / name
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def models_text(models: Iterable[str]) -> str:
    """The list of the models: the newest version of each is served, a new one is taken up."""
    entries = [
        f"  config {{\n    name: {json.dumps(name)}\n    base_path: {json.dumps(f'/models/{name}')}\n"
        '    model_platform: "tensorflow"\n  }\n'
        for name in models
    ]
    return "model_config_list {\n" + "".join(entries) + "}\n"


def compose_text(
    folder: PathLike, out: PathLike, batching: Batching | None, image: str, ports: tuple[int, int]
) -> str:
    """A compose file with the server; paths in it are absolute."""
    mounts = [
        f"{pathlib.Path(folder).resolve()}:/models:ro",
        f"{pathlib.Path(out).resolve() / MODELS}:/config/{MODELS}:ro",
    ]
    command = [f"--model_config_file=/config/{MODELS}", "--model_config_file_poll_wait_seconds=60"]
    if batching is not None:
        mounts.append(f"{pathlib.Path(out).resolve() / BATCHING}:/config/{BATCHING}:ro")
        command += ["--enable_batching=true", f"--batching_parameters_file=/config/{BATCHING}"]
    values = {
        "ports": [f"{ports[0]}:8500", f"{ports[1]}:8501"],
        "volumes": mounts,
        "command": command,
    }
    lists = "".join(
        f"    {key}:\n" + "".join(f"      - {json.dumps(value)}\n" for value in listed)
        for key, listed in values.items()
    )
    return f"services:\n  kdet:\n    image: {json.dumps(image)}\n    restart: unless-stopped\n{lists}"


def write_warm_up(
    version: PathLike, sizes: Sequence[Pair], batch_sizes: Sequence[int] = (1,)
) -> pathlib.Path:
    """Write requests that the server makes of a model before it says that the model is ready.

    Without them the first request of a size pays for what TensorFlow prepares then.

    Args:
        version: the folder of the SavedModel.
        sizes: (h, w) of the images, such as clients will send.
        batch_sizes: of the requests.

    Returns:
        The file, in ``assets.extra`` of the model.

    Raises:
        KdetError: ``tensorflow-serving-api`` is not installed.
        MissingFile: there is no SavedModel.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise KdetError(
            "Warm-up requests are messages of TensorFlow Serving: pip install 'kdet[serving]'."
        ) from error
    folder = pathlib.Path(version)
    if not (folder / "saved_model.pb").is_file():
        raise MissingFile(f"{folder} is no SavedModel.")
    draw = np.random.default_rng(0)
    path = folder / WARM_UP
    with whole(path) as part, tf.io.TFRecordWriter(str(part)) as writer:
        for height, width in sizes:
            pixels = draw.integers(0, 256, (height, width, 3)).astype(np.uint8)
            encoded = tf.io.encode_jpeg(pixels).numpy()
            for rows in batch_sizes:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = folder.parent.name
                request.model_spec.signature_name = WARM_UP_SIGNATURE
                request.inputs["encoded"].CopyFrom(tf.make_tensor_proto([encoded] * rows))
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return path
