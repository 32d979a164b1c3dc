"""The figures of an epoch: the mean of every loss over its batches."""

from typing import Any

import keras


class EpochMeans(keras.callbacks.Callback):
    """Replace the losses of the last batch by their means over the batches, as Keras reports losses.

    The callbacks behind it see the means in ``on_epoch_end``, ``on_test_end`` and ``on_train_end``: the
    history, EarlyStopping, ReduceLROnPlateau, ModelCheckpoint. Batches count alike. With
    ``steps_per_execution`` above 1 Keras reports the last of so many steps, and the mean is over those.

    Raises:
        ValueError: an epoch or an evaluation had no batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch, self._test = _Means(), _Means()

    @classmethod
    def put_first(cls, callbacks: Any, model: keras.Model) -> Any:
        """``callbacks`` as ``fit`` and ``evaluate`` take them, with an ``EpochMeans`` before the others.

        A ``CallbackList`` (``fit`` hands its own to ``evaluate``) gets one if it has none.
        """
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            return [cls(), *keras.tree.flatten(callbacks or [])]
        if not any(isinstance(one, cls) for one in callbacks.callbacks):
            means = cls()
            means.set_model(model)
            callbacks.callbacks.insert(0, means)
        return callbacks

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = _Means()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._epoch.add(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs.update(self._epoch.result(f"fit saw no batch in epoch {epoch + 1}"))

    def on_train_end(self, logs: Any = None) -> None:
        if logs is not None and self._epoch.batches:
            logs.update(self._epoch.result("fit saw no batch"))

    def on_test_begin(self, logs: Any = None) -> None:
        self._test = _Means()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._test.add(logs)

    def on_test_end(self, logs: Any = None) -> None:
        logs.update(self._test.result("evaluate saw no batch"))

    def tested(self) -> dict[str, float]:
        """Means of the last evaluation, the sum of the losses first."""
        return self._test.result("evaluate saw no batch")


class _Means:
    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self.batches = 0

    def add(self, logs: Any) -> None:
        self.batches += 1
        for name, value in (logs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def result(self, otherwise: str) -> dict[str, float]:
        if not self.batches:
            raise ValueError(f"{otherwise}: the data set is empty, or ended before.")
        first = {"loss": self._sums["loss"]} if "loss" in self._sums else {}
        return {name: total / self.batches for name, total in {**first, **self._sums}.items()}
