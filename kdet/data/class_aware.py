"""Class-aware sampling (Shen et al., 2016, "Relay Backpropagation"): all classes equally often."""

import math

import numpy as np

from kdet.data.buckets import BatchPlan
from kdet.errors import DataError
from kdet.typing import Array


class ClassAwarePlan(BatchPlan):
    """Which images make up every training step, when the classes take turns: a pure function of (seed, step).

    Classes are shuffled again and again, and so are the images of each; the next class gives its next image.
    Images of one bucket wait for one another until they are a batch. An epoch draws as many images as the
    data set has.

    Args:
        buckets: int ``[n]``, the bucket of each image.
        batch_size: images per global batch.
        owners, labels: int ``[k]`` each: image and class of every object; images without any are not drawn.
        seed: of the shuffling.
        repeat: so many times the images in an epoch.

    Raises:
        DataError: no image has an object.
    """

    def __init__(
        self,
        buckets: Array,
        batch_size: int,
        owners: Array,
        labels: Array,
        *,
        seed: int = 0,
        repeat: int = 1,
    ) -> None:
        super().__init__(buckets, batch_size, seed=seed)
        if not len(labels):
            raise DataError("class_aware takes images by their classes, and no image has an object.")
        classes, images = np.unique(np.stack([labels, owners]), axis=1)
        self._images = [images[classes == label] for label in np.unique(classes)]
        self._buckets = buckets
        self.steps_per_epoch = math.ceil(len(buckets) * repeat / batch_size)

    def _epoch(self, epoch: int) -> Array:
        random = np.random.default_rng([self._seed, epoch])
        buckets = len(self._groups)
        # so many that the images which still wait for others are not missed
        draws = self.steps_per_epoch * self._batch_size + buckets * (self._batch_size - 1)
        turns = _cycles(random, np.arange(len(self._images)), draws)
        drawn = np.empty(draws, int)
        for label, images in enumerate(self._images):
            at = np.flatnonzero(turns == label)
            drawn[at] = _cycles(random, images, len(at))
        batches, ready = [], []
        for bucket in np.unique(self._buckets[drawn]):
            at = np.flatnonzero(self._buckets[drawn] == bucket)
            whole = at[: len(at) // self._batch_size * self._batch_size].reshape(-1, self._batch_size)
            batches.append(drawn[whole])
            ready.append(whole[:, -1])
        order = np.argsort(np.concatenate(ready))[: self.steps_per_epoch]
        return np.concatenate(batches)[order]


def _cycles(random: np.random.Generator, values: Array, count: int) -> Array:
    """``count`` of the values, all of them before one comes again, in another order each time."""
    rounds = -(-count // len(values))
    return random.permuted(np.tile(values, (rounds, 1)), axis=1).ravel()[:count]
