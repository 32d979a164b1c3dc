"""Checkpoints that survive a kill: weights, optimizer slots and the step, replaced in one piece."""

import logging
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import keras

from kdet.convert import keras_files, safe_load
from kdet.errors import CheckpointError, first_line
from kdet.train import facts
from kdet.typing import PathLike

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

    def steps(self) -> list[int]:
        """Training steps of the checkpoints there are, oldest first."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(int(m.group(1)) for m in map(PATTERN.match, names) if m)

    def path(self, step: int) -> pathlib.Path:
        return self.folder / f"step_{step:08d}.weights.h5"

    def save(self, model: keras.Model, step: int) -> pathlib.Path:
        """Writes a checkpoint; a kill at any moment leaves the older ones whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"part_{os.getpid()}.weights.h5"
        model.save_weights(temporary, overwrite=True)
        if self.run is not None:
            facts.write(temporary, self.run)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path(step))
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)
        for rest in (*self.folder.glob("part_*.weights.h5"), *self.folder.glob(".part.*")):
            rest.unlink(missing_ok=True)
        return self.path(step)

    def restore(self, model: keras.Model, others: Sequence["Checkpoints"] = ()) -> int:
        """Loads the newest checkpoint into a compiled model.

        Args:
            model: compiled.
            others: :class:`Checkpoints` of the other workers, as far as their folders can be seen: a kill may
                have come between two of them, so the newest step that all have is taken.

        Returns:
            The training step it was written at, 0 when there is none.

        Raises:
            IncompleteWeights: the checkpoint does not hold all weights of the model and all slots of its
                optimizer; the model is unchanged then.
            ValueError: another run wrote it: other data, classes, batch size or seed.
            CheckpointError: there are checkpoints, but none can be read.
        """
        visible = [set(c.steps()) for c in others if c.folder.is_dir()]
        steps = set(self.steps()).intersection(*visible)
        if not steps:
            return 0
        if not model.optimizer.built:  # its slots would be lost silently
            model.optimizer.build(model.trainable_variables)
        for step in sorted(steps, reverse=True):
            try:
                self._load(model, self.path(step))
                return step
            except CheckpointError as error:
                logger.warning("A checkpoint is of no use: %s Taking the one before.", error)
        raise CheckpointError(
            f"None of the checkpoints in {self.folder} can be used (steps {sorted(steps)}): remove them to "
            "start anew, or see the log for what is wrong with each."
        )

    def _load(self, model: keras.Model, path: pathlib.Path) -> None:
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
    """Writes a checkpoint every ``every`` steps and at the end of every epoch.

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

    def _save(self) -> None:
        self.checkpoints.save(self.model, self.step)
        self._saved = self.step
