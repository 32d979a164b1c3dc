"""Callbacks that watch one figure of the log: the best weights, and an early end."""

import logging
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import keras

from kdet.errors import suggest
from kdet.ranges import Text
from kdet.registry import adopt, register
from kdet.settings import Count, NotNegative
from kdet.train.averages import averaged
from kdet.writing import whole

logger = logging.getLogger("kdet")

Figure = Annotated[str, Text("a figure of the log such as val/bbox/AP")]
Line = Mapping[str, Any]  # of the log: figures of one epoch

adopt(keras.callbacks.CSVLogger, keras.callbacks.TensorBoard, keras.callbacks.TerminateOnNaN)


def is_better(value: float, best: float | None, mode: str, least: float = 0.0) -> bool:
    """Whether a figure is an improvement by more than ``least``; NaN never is."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best + least if mode == "max" else value < best - least


def mode_of(figure: str) -> str:
    """Whether a figure should be small (a loss) or large."""
    return "min" if "loss" in figure else "max"


class Monitor(keras.callbacks.Callback):
    """Keeps the best value of a figure, also of what came before a resume.

    Epochs without the figure (``evaluate_every``) and NaN are passed over.

    Args:
        monitor: the figure.
        mode: "max" or "min"; "auto": losses should be small, all else large.
        min_delta: smaller changes are no improvement.
    """

    def __init__(self, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        super().__init__()
        self.monitor, self.min_delta = monitor, min_delta
        self.mode = mode_of(monitor) if mode == "auto" else mode
        self._past: list[Line] = []
        self.reset()

    def remember(self, lines: Iterable[Line]) -> None:
        """Takes the lines of the epochs before this call of ``fit``, oldest first."""
        self._past = list(lines)

    def has_ended(self) -> bool:
        """Whether the epochs that it remembers ended the run, so that a resume has nothing left to do."""
        return False

    def _replay(self) -> None:
        self.reset()
        for line in self._past:
            self.seen(line)

    def reset(self) -> None:
        """Forgets everything."""
        self.best: float | None = None
        self.wait = 0  # evaluations without an improvement
        self._figures: set[str] = set()

    def seen(self, logs: Line) -> bool:
        """Takes the figures of an epoch; whether they are the best so far."""
        value = logs.get(self.monitor)
        self._figures.update(logs)
        if value is None or math.isnan(value):
            return False
        if is_better(float(value), self.best, self.mode, self.min_delta):
            self.best, self.wait = float(value), 0
            return True
        self.wait += 1
        return False

    def on_train_begin(self, logs: Line | None = None) -> None:
        self._replay()

    def on_train_end(self, logs: Line | None = None) -> None:
        if self._figures and self.monitor not in self._figures:
            logger.warning(
                "%s found no %s in the log. %s",
                type(self).__name__, self.monitor, suggest(self.monitor, sorted(self._figures)),
            )  # fmt: skip


@register
class SaveBest(Monitor):
    """Writes the weights whenever a figure is the best so far; with ``train.ema`` their averages.

    Args:
        path: a ``.weights.h5`` file.
        monitor: the figure.
        mode: "max" or "min"; "auto": losses should be small, all else large.
        min_delta: smaller changes are no improvement.

    Example:
        >>> model.fit(data, callbacks=[SaveBest("best.weights.h5", "loss")])
    """

    def __init__(
        self,
        path: Annotated[str, Text("a file name that ends with .weights.h5")],
        monitor: Figure = "val/bbox/AP",
        mode: Literal["auto", "max", "min"] = "auto",
        min_delta: NotNegative = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.path = pathlib.Path(path)
        if not str(path).endswith(".weights.h5"):
            raise ValueError(f"path must end with .weights.h5; got {str(path)!r}.")

    def on_epoch_end(self, epoch: int, logs: Line | None = None) -> None:
        if self.seen(logs or {}):
            with averaged(self.model), whole(self.path) as part:
                self.model.save_weights(part, overwrite=True)


@register
class EarlyStopping(Monitor):
    """Ends the training when a figure has not become better for some evaluations.

    As Keras' callback of that name, but a resumed run stops where an uninterrupted one does.

    Args:
        monitor: the figure.
        mode: "max" or "min"; "auto": losses should be small, all else large.
        min_delta: smaller changes are no improvement.
        patience: evaluations without an improvement after which training ends.
    """

    def __init__(
        self,
        monitor: Figure = "val/bbox/AP",
        patience: Count = 3,
        mode: Literal["auto", "max", "min"] = "auto",
        min_delta: NotNegative = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience

    def has_ended(self) -> bool:
        self._replay()
        return self.wait >= self.patience

    def on_epoch_end(self, epoch: int, logs: Line | None = None) -> None:
        self.seen(logs or {})
        if self.wait >= self.patience:
            self.model.stop_training = True
