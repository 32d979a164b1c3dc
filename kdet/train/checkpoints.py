"""Checkpoints that survive a kill: weights, optimizer slots and the step, replaced in one piece."""

import logging
import os
import pathlib
import re
import threading
from typing import Any

import keras

from kdet.convert import keras_files, safe_load, snapshots
from kdet.errors import CheckpointError, first_line
from kdet.train import facts
from kdet.typing import Array, PathLike

logger = logging.getLogger("kdet")

PATTERN = re.compile(r"step_(\d+)\.weights\.h5$")


class Checkpoints:
    """The checkpoints of one run: ``<folder>/step_<training steps>.weights.h5``.

    Args:
        folder: where they lie; created when the first is written.
        keep: how many of the newest stay.
        run: what the run is, see ``kdet.train.facts``; written into every checkpoint and compared with it.
    """

    def __init__(self, folder: PathLike, keep: int = 2, run: dict[str, Any] | None = None) -> None:
        self.folder = pathlib.Path(folder)
        self.keep, self.run = keep, run
        self._writing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def steps(self) -> list[int]:
        """Training steps of the checkpoints there are, oldest first."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(int(m.group(1)) for m in map(PATTERN.match, names) if m)

    def path(self, step: int) -> pathlib.Path:
        return self.folder / f"step_{step:08d}.weights.h5"

    def save(self, model: keras.Model, step: int) -> pathlib.Path:
        """Writes a checkpoint; a kill at any moment leaves the older ones whole."""
        self.start_saving(model, step)
        self.wait()
        return self.path(step)

    def start_saving(self, model: keras.Model, step: int) -> None:
        """Copies all weights and slots, and writes the checkpoint while training goes on.

        One is written at a time. What fails is raised by the next call, or by :meth:`wait`.
        """
        self.wait()
        values = snapshots.snapshot(model)

        def write() -> None:
            try:
                self._write(values, step)
            except BaseException as error:  # raised again in the thread that trains
                self._failure = error

        self._writing = threading.Thread(target=write, name="kdet writes a checkpoint")
        self._writing.start()

    def wait(self) -> None:
        """Returns when no checkpoint is being written.

        Raises:
            WriteError: it could not be.
        """
        if self._writing is not None:
            self._writing.join()
        failure, self._writing, self._failure = self._failure, None, None
        if failure is not None:
            raise failure

    def _write(self, values: dict[str, Array], step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"part_{os.getpid()}.weights.h5"
        snapshots.write(temporary, values)
        if self.run is not None:
            facts.write(temporary, self.run)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path(step))
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)
        for rest in (*self.folder.glob("part_*.weights.h5"), *self.folder.glob(".part.*")):
            rest.unlink(missing_ok=True)

    def restore(self, model: keras.Model) -> int:
        """Loads the newest checkpoint into a compiled model.

        Args:
            model: compiled.

        Returns:
            The training step it was written at, 0 when there is none.

        Raises:
            IncompleteWeights: the checkpoint does not hold all weights of the model and all slots of its
                optimizer; the model is unchanged then.
            ValueError: another run wrote it: other data, classes, batch size or seed.
            CheckpointError: there are checkpoints, but none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                self.load(model, self.path(step))
                return step
            except keras_files.IncompleteWeights:  # whole, but of another model
                raise
            except CheckpointError as error:
                logger.warning("A checkpoint is of no use: %s Taking the one before.", error)
        if not steps:
            return 0
        raise CheckpointError(
            f"None of the checkpoints in {self.folder} can be used (steps {steps}): remove them to "
            "start anew, or see the log for what is wrong with each."
        )

    def load(self, model: keras.Model, path: pathlib.Path) -> None:
        """Loads one checkpoint; errors as of :meth:`restore`."""
        if not model.optimizer.built:  # its slots would be lost silently
            model.optimizer.build(model.trainable_variables)
        safe_load.check_kind(model, path)
        try:
            complete = keras_files.has_optimizer(path)
        except OSError as error:
            raise CheckpointError(f"{path} is damaged or cut off ({first_line(error)}).") from error
        if not complete:
            raise keras_files.IncompleteWeights(
                f"{path} holds no optimizer, so training cannot go on from it. Use it as train.initial of "
                "a new run."
            )
        if self.run is not None:
            facts.require_same_run(facts.read(path), self.run, path)
        safe_load.load(model, path)


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes a checkpoint every ``every`` steps and at the end of every epoch, while training goes on.

    Steps are batches of training data. (The optimizer counts fewer when loss scaling skips an overflow.)

    Args:
        checkpoints: :class:`Checkpoints`.
        first_step: steps done before this call of ``fit``.
        every: steps between checkpoints within an epoch; 0 for none.
    """

    def __init__(self, checkpoints: Checkpoints, first_step: int = 0, every: int = 0) -> None:
        super().__init__()
        self.checkpoints, self.step, self.every = checkpoints, first_step, every
        self._saved: int | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1
        if self.every and self.step % self.every == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._saved != self.step:
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.checkpoints.wait()

    def _save(self) -> None:
        self.checkpoints.start_saving(self.model, self.step)
        self._saved = self.step
