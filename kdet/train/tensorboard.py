"""TensorBoard event files written with TensorFlow alone (the viewer need not be installed)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet.typing import PathLike


class EventWriter:
    """Scalars and images for TensorBoard.

    Args:
        folder: where the event file goes.
    """

    def __init__(self, folder: PathLike) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes ``{name: number}`` at an optimizer step."""
        with self._writer.as_default():
            for name, value in values.items():
                self._write(name, "scalars", tf.constant(float(value), tf.float32), step)

    def images(self, name: str, images: Sequence[np.ndarray], step: int) -> None:
        """Writes RGB uint8 images ``[[h, w, 3], ...]`` of any sizes."""
        with self._writer.as_default():
            for i, image in enumerate(images):
                h, w = image.shape[:2]
                encoded = tf.io.encode_png(np.ascontiguousarray(image, np.uint8))
                # The viewer's own layout: width, height, then the encoded image.
                self._write(f"{name}/{i}", "images", tf.stack([str(w), str(h), encoded]), step)

    def _write(self, name: str, plugin: str, tensor: Any, step: int) -> None:
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        metadata.data_class = {"scalars": 1, "images": 3}[plugin]
        tf.summary.write(name, tensor, step=step, metadata=metadata)

    def flush(self) -> None:
        self._writer.flush()


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
