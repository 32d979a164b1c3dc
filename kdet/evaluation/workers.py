"""What the workers of a strategy tell one another, beside gradients: figures, detections, errors."""

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from kdet.detectors.replicas import Place
from kdet.errors import KdetError, first_line

T = TypeVar("T")
BLOCK = 2**23  # numbers of eight bytes that a worker sends at once


class Workers:
    """The processes of a strategy, which do the same things in the same order.

    A process that fails tells the others, which would wait for it forever.

    Args:
        strategy: of the model.

    Attributes:
        place: which of them this process is.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy, self.place = strategy, Place.of(strategy)

    def every(self, work: Callable[[], T]) -> T:
        """What ``work`` gives here; every worker does its own.

        Raises:
            KdetError: that of another worker failed; naming it.
        """
        if self.place.workers == 1:
            return work()
        try:
            found = work()
        except Exception as error:
            self.exchange(first_line(error).encode() or b"?")
            raise
        for number, reason in enumerate(self.exchange(b"")):
            if reason:
                raise KdetError(f"Worker {number} failed: {reason.decode()}")
        return found

    def of_chief(self, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What ``work`` gives the chief, who alone does it.

        Raises:
            KdetError: it failed there.
        """
        if self.place.workers == 1:
            return work()
        found: dict[str, float] = {}

        def at_chief() -> None:
            if self.place.is_chief:
                found.update(work())

        self.every(at_chief)
        return dict(json.loads(self.exchange(json.dumps(found).encode())[0]))

    def gathered(self, content: bytes) -> list[bytes]:
        """The contents of all workers, in their order; an empty list on all but the chief."""
        return self.exchange(content, keep=self.place.is_chief)

    def exchange(self, content: bytes, keep: bool = True) -> list[bytes]:
        """The contents of all workers, in their order.

        In blocks, because what is sent is in memory of every worker.

        Args:
            content: of this one.
            keep: False: gives an empty list, and the contents are dropped.
        """
        if self.place.workers == 1:
            return [content]
        sizes = self._gather(np.array([len(content)], np.int64))
        numbers = np.frombuffer(content + bytes(-len(content) % 8), np.int64)
        parts: list[list[bytes]] = [[] for _ in sizes]
        for start in range(0, -(-int(sizes.max()) // 8), BLOCK):
            rows = np.clip(-(-sizes // 8) - start, 0, BLOCK)  # of every worker in this block
            block = self._gather(numbers[start : start + BLOCK])
            if keep:
                for part, some in zip(parts, np.split(block, np.cumsum(rows)[:-1]), strict=True):
                    part.append(some.tobytes())
        if not keep:
            return []
        return [b"".join(part)[:size] for part, size in zip(parts, sizes.tolist(), strict=True)]

    def _gather(self, own: Any) -> Any:
        """The rows of all workers, one after the other."""
        return self._gathering(tf.constant(own)).numpy()

    @functools.cached_property
    def _gathering(self) -> Any:
        """One graph for any number of rows; each worker gives its own through its first replica."""

        def of_all(own: tf.Tensor) -> tf.Tensor:
            def of_replica() -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                first = tf.get_static_value(context.replica_id_in_sync_group) % self.place.local == 0
                rows = tf.identity(own if first else own[:0])  # on the device of the replica
                return context.all_gather(rows, axis=0)

            return self.strategy.experimental_local_results(self.strategy.run(of_replica))[0]

        return tf.function(of_all, input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
