"""Checkpoints that survive a kill: weights, optimizer slots and the step, replaced in one piece."""

import logging
import math
import os
import pathlib
import re

import keras

from kdet.convert import keras_files
from kdet.errors import CheckpointError

logger = logging.getLogger("kdet")

PATTERN = re.compile(r"step_(\d+)\.weights\.h5$")


class Checkpoints:
    """The checkpoints of one run: ``<folder>/step_<training steps>.weights.h5``.

    Args:
        folder: where they lie; created when the first is written.
        keep: how many of the newest stay.
    """

    def __init__(self, folder, keep=2):
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def steps(self):
        """Training steps of the checkpoints there are, oldest first."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(int(m.group(1)) for m in map(PATTERN.match, names) if m)

    def path(self, step):
        return self.folder / f"step_{step:08d}.weights.h5"

    def save(self, model, step):
        """Writes a checkpoint; a kill at any moment leaves the older ones whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"part_{os.getpid()}.weights.h5"
        variables = [*model.weights, *model.optimizer.variables] if model.optimizer else model.weights
        size = sum(math.prod(v.shape) * 4 + 4096 for v in variables)
        keras_files.reserve(temporary, size)
        model.save_weights(temporary, overwrite=True)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path(step))
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)
        for rest in self.folder.glob("part_*.weights.h5"):
            rest.unlink(missing_ok=True)
        return self.path(step)

    def restore(self, model, others=()):
        """Loads the newest checkpoint into a compiled model.

        Args:
            model: compiled.
            others: :class:`Checkpoints` of the other workers, as far as their folders can be seen: a kill may
                have come between two of them, so the newest step that all have is taken.

        Returns:
            The training step it was written at, 0 when there is none.

        Raises:
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
                keras_files.load(model, self.path(step))
                return step
            except CheckpointError as error:
                logger.warning("A checkpoint is of no use: %s Taking the one before.", error)
        raise CheckpointError(
            f"None of the checkpoints in {self.folder} can be used (steps {sorted(steps)}): remove them to "
            "start anew, or see the log for what is wrong with each."
        )


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes a checkpoint every ``every`` steps and at the end of every epoch.

    Steps are batches of training data. (The optimizer counts fewer when loss scaling skips an overflow.)

    Args:
        checkpoints: :class:`Checkpoints`.
        first_step: steps done before this call of ``fit``.
        every: steps between checkpoints within an epoch; 0 for none.
    """

    def __init__(self, checkpoints, first_step=0, every=0):
        super().__init__()
        self.checkpoints, self.step, self.every = checkpoints, first_step, every
        self._saved = None

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.every and self.step % self.every == 0:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        if self._saved != self.step:
            self._save()

    def _save(self):
        self.checkpoints.save(self.model, self.step)
        self._saved = self.step
