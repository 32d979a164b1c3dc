"""Phases of training: heads whose losses change in its course."""

from typing import Any

import keras

from kdet.settings import Count


class LateLosses(keras.callbacks.Callback):
    """Changes the head to its later losses from an epoch on (``train.late_losses_from`` does it in a recipe).

    The phase is a function of the epoch alone, so a run that goes on after a stop is in the right one.

    Args:
        first: number of epochs before the change.

    Example:
        >>> model.fit(dataset, epochs=12, callbacks=[kdet.train.LateLosses(4)])
    """

    def __init__(self, first: Count) -> None:
        super().__init__()
        self.first = first

    @classmethod
    def of(cls, given: int, epochs: int) -> "LateLosses":
        """From ``train.late_losses_from``, which counts from the end where it is negative."""
        return cls(given if given >= 0 else max(epochs + given, 0))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.use_late_losses(epoch >= self.first)
