"""Static canvas shapes, and which images share a batch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.inputs import own_side
from kdet.typing import Pair


def bucket_shapes(
    max_size: Pair = (1333, 800), divisor: int = 32, aspects: Sequence[float] = (4 / 3,)
) -> list[Pair]:
    """The few canvas shapes (h, w) that hold any image resized with its aspect ratio into ``max_size``.

    A wide and a tall canvas of the full size, and for each of ``aspects`` (long : short) a pair of
    shorter ones, so that common images carry less padding. All sides are multiples of ``divisor``.
    """
    long, short = max(max_size), min(max_size)
    longs = sorted({min(long, int(short * aspect + 0.5)) for aspect in aspects} | {long})
    shapes = []
    for side in longs:
        wide = (round_up(short, divisor), round_up(side, divisor))
        shapes += [wide, wide[::-1]]
    return list(dict.fromkeys(shapes))


def own_canvas(size: Sequence[float], divisor: int = 1, center_pad: int | None = None) -> Pair:
    """The canvas (h, w) for one image: sides as multiples of ``divisor``, or ``side | center_pad``."""
    height, width = (own_side(math.ceil(side), divisor, center_pad) for side in size)
    return height, width


def own_canvas_tensor(size: tf.Tensor, divisor: int = 1, center_pad: int | None = None) -> tf.Tensor:
    """``own_canvas`` in a graph: int32 ``[2]`` from an int32 ``[2]``."""
    return own_side(size, divisor, center_pad)


def round_up(value: float, divisor: int) -> int:
    return own_side(math.ceil(value), divisor)


def choose_bucket(sizes: Any, shapes: Sequence[Pair]) -> int:
    """Index of the smallest of ``shapes`` that holds every one of ``sizes [n,2]``; -1 where none does."""
    sizes = np.asarray(sizes).reshape(-1, 2)
    fits = [i for i, (h, w) in enumerate(shapes) if (sizes[:, 0] <= h).all() and (sizes[:, 1] <= w).all()]
    return min(fits, key=lambda i: shapes[i][0] * shapes[i][1], default=-1)


class BatchPlan:
    """Which images make up every training step: a pure function of (seed, step).

    Each epoch shuffles the images of every bucket, cuts them into batches of one bucket and shuffles
    the batches. Because nothing is carried from step to step, training resumes at any step exactly.

    Args:
        buckets: int ``[n]``, the bucket of each image.
        batch_size: images per global batch.
        seed: of the shuffling.
        shuffle: False keeps the order of the dataset within each bucket.
        remainder: "fill" completes the last batch of a bucket with images from its beginning (so an
            epoch sees every image), "drop" leaves it out.
    """

    def __init__(
        self,
        buckets: np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        remainder: str = "fill",
    ) -> None:
        self._groups = [np.flatnonzero(buckets == b) for b in np.unique(buckets)]
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        rounding = math.ceil if remainder == "fill" else math.floor
        self._batches = [rounding(len(group) / batch_size) for group in self._groups]
        self.steps_per_epoch = sum(self._batches)
        self._cached: tuple[int | None, Any] = (None, None)

    def batch(self, step: int) -> np.ndarray:
        """int ``[batch_size]``: the images of global step ``step`` (0-based, over all epochs)."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        cached_epoch, batches = self._cached  # one tuple: map functions run in several threads
        if cached_epoch != epoch:
            batches = self._epoch(epoch)
            self._cached = (epoch, batches)
        return batches[position]

    def _epoch(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, epoch])
        chosen = []
        for group, count in zip(self._groups, self._batches, strict=True):
            order = random.permutation(group) if self._shuffle else group
            chosen.append(np.resize(order, count * self._batch_size).reshape(count, self._batch_size))
        batches = np.concatenate(chosen)
        return random.permutation(batches) if self._shuffle else batches
