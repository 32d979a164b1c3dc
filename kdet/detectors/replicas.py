"""Prediction on all replicas of a distribution strategy, each with a batch of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.detectors.traces import Traces


@dataclasses.dataclass(frozen=True)
class Place:
    """What this process has of a strategy.

    Attributes:
        index: number of this process (worker), from 0 on; worker 0 is the chief.
        workers: number of processes.
        local: replicas of this process.
    """

    index: int = 0
    workers: int = 1
    local: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes and says things."""
        return self.index == 0

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> "Place":
        """That of a strategy; a TPU, whose programs have one shape, counts as one replica."""
        replicas = strategy.num_replicas_in_sync
        if replicas == 1 or isinstance(strategy, tf.distribute.TPUStrategy):
            return cls()
        local = len(strategy.extended.worker_devices)
        numbers = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(context.replica_id_in_sync_group)
        )
        first = int(strategy.experimental_local_results(numbers)[0])
        return cls(first // local, replicas // local, local)


class ReplicaTraces:
    """A function of network inputs, run on all replicas of this process at once.

    Args:
        function: ``(views, flip) -> dict of tensors``, see :class:`Traces`.
        strategy: whose replicas these are.
    """

    def __init__(self, function: Callable[[list[Any], bool], Any], strategy: tf.distribute.Strategy) -> None:
        self._function, self._strategy = function, strategy
        self._local = Place.of(strategy).local
        self._traces = Traces(self._on_all)

    def __call__(
        self, batches: list[list[Any]], flip: bool = False, canvas: str = "own"
    ) -> list[dict[str, tf.Tensor]]:
        """The function's results for one batch (a list of views) per replica."""
        if len(batches) != self._local:
            raise ValueError(f"{self._local} replicas take as many batches; got {len(batches)}.")
        found = self._traces([view for views in batches for view in views], flip, canvas)
        names = {name.split(":", 1)[1] for name in found}
        return [{name: found[f"{row}:{name}"] for name in names} for row in range(self._local)]

    def _on_all(self, views: list[Any], flip: bool) -> dict[str, tf.Tensor]:
        each = len(views) // self._local

        def of_replica() -> Any:
            context = tf.distribute.get_replica_context()
            row = int(tf.get_static_value(context.replica_id_in_sync_group)) % self._local
            return self._function(views[row * each : (row + 1) * each], flip)

        found = self._strategy.run(of_replica)
        rows = {name: self._strategy.experimental_local_results(value) for name, value in found.items()}
        return {f"{row}:{name}": values[row] for name, values in rows.items() for row in range(self._local)}
