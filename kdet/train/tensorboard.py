"""TensorBoard event files written with TensorFlow alone (the viewer need not be installed)."""

import os
import pathlib
import socket
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet.typing import PathLike
from kdet.writing import writing


class EventWriter:
    """Scalars and images for TensorBoard.

    The file is written here and not by ``tf.summary``, whose writer says nothing of a full disk.

    Args:
        folder: where the event file goes; created with the first figure.

    Raises:
        WriteError: the disk is full or fails.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = pathlib.Path(folder)
        self._file: Any = None

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes ``{name: number}`` at an optimizer step."""
        self._write([_value(name, "scalars", 1, float(value)) for name, value in values.items()], step)

    def images(self, name: str, images: Sequence[np.ndarray], step: int) -> None:
        """Writes RGB uint8 images ``[[h, w, 3], ...]`` of any sizes."""
        values = []
        for i, image in enumerate(images):
            h, w = image.shape[:2]
            encoded = tf.io.encode_png(np.ascontiguousarray(image, np.uint8)).numpy()
            # the viewer's own layout: width, height, then the encoded image
            values.append(_value(f"{name}/{i}", "images", 3, [str(w).encode(), str(h).encode(), encoded]))
        self._write(values, step)

    def flush(self) -> None:
        """Everything so far is in the file."""
        with writing(self.folder):
            if self._file is not None:
                self._file.flush()

    def _write(self, values: list[Any], step: int) -> None:
        event = tf.compat.v1.Event(wall_time=time.time(), step=step)
        event.summary.value.extend(values)
        with writing(self.folder):
            if self._file is None:
                self._file = self._open()
            self._file.write(event.SerializeToString())

    def _open(self) -> Any:
        """A new file with the record that says what the others are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        file = tf.io.TFRecordWriter(str(self.folder / name))
        first = tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")
        file.write(first.SerializeToString())
        return file


def _value(name: str, plugin: str, data_class: int, content: Any) -> Any:
    """One figure of an event; ``data_class``: 1 a scalar, 3 encoded images."""
    kind = tf.float32 if plugin == "scalars" else tf.string
    value = tf.compat.v1.Summary.Value(tag=name, tensor=tf.make_tensor_proto(content, kind))
    value.metadata.plugin_data.plugin_name = plugin
    value.metadata.data_class = data_class
    return value


class TensorBoardScalars(keras.callbacks.Callback):
    """Writes losses and learning rate every ``every`` steps, and what an epoch's logs hold beyond them.

    Args:
        writer: :class:`EventWriter`.
        first_step: optimizer steps done before this call of ``fit``.
        every: steps between two points.
    """

    def __init__(self, writer: EventWriter, first_step: int = 0, every: int = 50) -> None:
        super().__init__()
        self.writer, self.step, self.every = writer, first_step, every
        self._seen: set[str] = set()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1
        self._seen.update(logs or {})
        if self.step % self.every == 0:
            values = {f"train/{k}": v for k, v in (logs or {}).items()}
            values["train/learning_rate"] = float(self.model.optimizer.learning_rate)
            self.writer.scalars(values, self.step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {k: v for k, v in (logs or {}).items() if k not in self._seen}
        self.writer.scalars({**values, "epoch": epoch + 1}, self.step)
        self.writer.flush()
