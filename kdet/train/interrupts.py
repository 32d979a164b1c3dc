"""Ctrl-C and the signals of schedulers end a run after the step, with a checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import keras

from kdet.errors import Stopped
from kdet.train.checkpoints import Checkpoints

# SIGTERM comes from Kubernetes, preempted machines and SLURM's scancel, SIGUSR1 from SLURM's --signal.
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")


class Interrupts:
    """Notes signals instead of dying of them.

    Attributes:
        received: name of the first signal, or None.
    """

    received: str | None = None

    @contextlib.contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """Catch the signals inside the ``with``; a second Ctrl-C ends the program at once, as ever.

        Outside of the main thread, where Python has no signals, nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        known = signal.Signals.__members__  # Windows has no SIGUSR1
        before = {known[name]: signal.signal(known[name], self._note) for name in _NAMES if name in known}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name


class StopOnSignal(keras.callbacks.Callback):
    """Ends ``fit`` after the step in which a signal came, with a checkpoint.

    Args:
        interrupts: which notes the signals.
        checkpoints: where the checkpoint goes.
        first_step: steps done before this call of ``fit``.
        exchange: gives every worker what each of them has to say; None where there is one. All workers end
            after the step in which one of them has noted a signal.
        writes: whether this worker writes the checkpoint.

    Raises:
        Stopped: from ``fit``, after the checkpoint was written.
    """

    def __init__(
        self,
        interrupts: Interrupts,
        checkpoints: Checkpoints,
        first_step: int = 0,
        exchange: Callable[[bytes], list[bytes]] | None = None,
        writes: bool = True,
    ) -> None:
        super().__init__()
        self.interrupts, self.checkpoints, self.step = interrupts, checkpoints, first_step
        self.exchange, self.writes = exchange, writes

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1
        name = self._agreed()
        if name:
            self.checkpoints.wait()
            path = self.checkpoints.path(self.step)
            if self.writes and not path.exists():  # the step may have ended with one anyway
                self.checkpoints.save(self.model, self.step)
            raise Stopped(
                f"{name} ended the run at step {self.step}; {path.name} is written, go on with --resume.",
                name,
            )

    def _agreed(self) -> str:
        """The first signal that a worker has noted, or ""."""
        own = self.interrupts.received or ""
        if self.exchange is None:
            return own
        return next(filter(None, self.exchange(own.encode())), b"").decode()
