"""Keras callbacks of a training run: validation scores, example images, a line per epoch."""

import concurrent.futures
import json
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet.evaluation.runner import evaluate
from kdet.results import SEGMENT_KEYS, segments_of
from kdet.storage import Mirror
from kdet.train.averages import averaged
from kdet.typing import PathLike
from kdet.writing import writing


def optimizer_steps(model: keras.Model) -> int:
    """Updates done so far, as an int (also for the mirrored counter of a distributed run)."""
    return int(tf.convert_to_tensor(model.optimizer.iterations))


class EvaluateDetections(keras.callbacks.Callback):
    """Adds the validation figures to the logs of an epoch (``val/bbox/AP`` ...).

    Where the optimizer keeps averages of the weights, these are scored.

    Args:
        pipeline: validation data, ``kdet.data.load(...)``.
        metrics: see :func:`kdet.evaluation.evaluate`.
        every: epochs between evaluations; the last epoch is always evaluated.
        last_epoch: number of epochs of the run.
        images: called with the inputs and detections of the first batch, to show them.
    """

    def __init__(
        self,
        pipeline: Any,
        metrics: Sequence[Any] = ("bbox",),
        every: int = 1,
        last_epoch: int | None = None,
        images: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self.pipeline, self.metrics = pipeline, metrics
        self.every, self.last_epoch, self.images = every, last_epoch, images

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.last_epoch:
            return
        with averaged(self.model):
            figures = evaluate(self.model, self.pipeline, self.metrics, on_first_batch=self.images)
        if logs is not None:
            logs.update({f"val/{name}": value for name, value in figures.items()})


class SendFiles(keras.callbacks.Callback):
    """Sends what a run wrote to the URL of its work directory, beside the training.

    Args:
        mirror: the folder of this machine that stands for it.
        seconds: between two looks at the folder within an epoch.
    """

    def __init__(self, mirror: Mirror, seconds: float = 30.0) -> None:
        super().__init__()
        self.mirror, self.seconds = mirror, seconds
        self._sending = concurrent.futures.ThreadPoolExecutor(1, "kdet sends files")
        self._last = time.monotonic()
        self._pending: concurrent.futures.Future[Any] = self._sending.submit(int)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() - self._last > self.seconds:
            self._send()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._send()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._pending.result()

    def _send(self) -> None:
        """Raises what an earlier transfer raised."""
        self._last = time.monotonic()
        if self._pending.done():
            self._pending.result()
            self._pending = self._sending.submit(self.mirror.push)


class EpochLog(keras.callbacks.Callback):
    """Appends a JSON line per epoch to a file and to a list.

    Args:
        path: the file.
        history: the list.
    """

    def __init__(self, path: PathLike, history: list[dict[str, Any]]) -> None:
        super().__init__()
        self.path, self.history = path, history

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        line = {
            "epoch": epoch + 1,
            "step": optimizer_steps(self.model),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.monotonic() - self._start, 2),
            **{k: float(v) for k, v in (logs or {}).items()},
        }
        self.history.append(line)
        with writing(self.path), open(self.path, "a") as file:
            # JSON has no NaN: a figure without ground truth is null
            plain = {k: v if isinstance(v, int) or math.isfinite(v) else None for k, v in line.items()}
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def lines_before(path: pathlib.Path, epoch: int) -> list[dict[str, Any]]:
    """The lines that an :class:`EpochLog` wrote of the first ``epoch`` epochs, the last of each, in order.

    Lines that are none (a kill cut one off, an editor changed one) are passed over.
    """
    if not path.is_file():
        return []
    found: dict[int, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and type(line.get("epoch")) is int:
            found[line["epoch"]] = {k: v for k, v in line.items() if type(v) in (int, float)}
    return [found[number] for number in sorted(found) if number <= epoch]


def show_images(
    inputs: dict[str, np.ndarray],
    detections: dict[str, np.ndarray],
    class_names: Sequence[str] | None,
    count: int = 4,
    min_score: float = 0.3,
) -> list[np.ndarray]:
    """Images of a batch with what was found in them: list of RGB uint8 ``[h, w, 3]``.

    Of panoptic models the segments are drawn, of others the boxes.

    Args:
        inputs, detections: of one batch, as NumPy.
        class_names: in label order.
        count: at most that many images.
        min_score: draw detections from this score on.
    """
    from kdet import visualize

    shown = []
    for i in range(min(count, len(inputs["images"]))):
        h, w = inputs["valid_size"][i].astype(int)
        image, scale = inputs["images"][i][:h, :w], inputs["scale"][i]
        if "panoptic" in detections:
            # the pixel of the original image that lies under the middle of each of the input's
            row, column = (((np.arange(n) + 0.5) / f).astype(int) for n, f in zip((h, w), scale, strict=True))
            segments = segments_of({key: detections[key][i] for key in SEGMENT_KEYS}, class_names)
            segment_map = detections["panoptic"][i][np.ix_(row, column)]
            shown.append(visualize.draw_segments(image, segment_map, segments))
            continue
        keep = (detections["labels"][i] >= 0) & (detections["scores"][i] >= min_score)
        one = {k: detections[k][i][keep] for k in ("scores", "labels")}
        one["boxes"] = detections["boxes"][i][keep] * np.tile(scale[::-1], 2)  # in pixels of the input
        shown.append(visualize.draw_detections(image, one, class_names))
    return shown
