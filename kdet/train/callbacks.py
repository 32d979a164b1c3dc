"""Keras callbacks of a training run: validation scores, example images, a line per epoch."""

import json
import math
import time

import keras
import numpy as np
import tensorflow as tf

from kdet.evaluation.runner import evaluate
from kdet.writing import writing


def optimizer_steps(model):
    """Updates done so far, as an int (also for the mirrored counter of a distributed run)."""
    return int(tf.convert_to_tensor(model.optimizer.iterations))


class EvaluateDetections(keras.callbacks.Callback):
    """Adds the validation figures to the logs of an epoch (``val/bbox/AP`` ...).

    Args:
        pipeline: validation data, ``kdet.data.load(...)``.
        metrics: see :func:`kdet.evaluation.evaluate`.
        every: epochs between evaluations; the last epoch is always evaluated.
        last_epoch: number of epochs of the run.
        images: called with the inputs and detections of the first batch, to show them.
    """

    def __init__(self, pipeline, metrics=("bbox",), every=1, last_epoch=None, images=None):
        super().__init__()
        self.pipeline, self.metrics = pipeline, metrics
        self.every, self.last_epoch, self.images = every, last_epoch, images

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 != self.last_epoch:
            return
        figures = evaluate(self.model, self.pipeline, self.metrics, on_first_batch=self.images)
        logs.update({f"val/{name}": value for name, value in figures.items()})


class EpochLog(keras.callbacks.Callback):
    """Appends a JSON line per epoch to a file and to a list.

    Args:
        path: the file.
        history: the list.
    """

    def __init__(self, path, history):
        super().__init__()
        self.path, self.history = path, history

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
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


def show_images(inputs, detections, class_names, count=4, min_score=0.3):
    """Images of a batch with what was detected in them: list of RGB uint8 ``[h, w, 3]``.

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
        factors = np.tile(inputs["scale"][i][::-1], 2)  # original pixels -> pixels of the input
        keep = (detections["labels"][i] >= 0) & (detections["scores"][i] >= min_score)
        one = {k: detections[k][i][keep] for k in ("scores", "labels")}
        one["boxes"] = detections["boxes"][i][keep] * factors
        shown.append(visualize.draw_detections(inputs["images"][i][:h, :w], one, class_names))
    return shown
