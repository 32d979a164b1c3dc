"""Which canvas shapes batches come in, and which images share one."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.data import buckets, resize, spec
from kdet.data.extent import Extent
from kdet.data.records import Records
from kdet.data.sample import Transform
from kdet.data.transforms import Resize
from kdet.errors import DataError
from kdet.settings import Split

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Canvases:
    """The canvases of a data set.

    Attributes:
        shapes: (h, w) of each.
        resized: maps an image's (h, w) to its size after all transforms; None: all images fit all canvases.
        fixed: evaluation uses these canvases alone too.
        of_step: ``(step, seed) -> (h, w)`` where all images of a step have one drawn size.
        of_part: int ``[shapes, parts, 2]`` where a step has one part of the sizes: the (h, w) that holds all
            images of a shape then.
    """

    shapes: list[Size]
    resized: Callable[[Size], Size] | None = None
    fixed: bool = False
    of_step: Callable[[tf.Tensor, int], tf.Tensor] | None = None
    of_part: np.ndarray | None = None

    def assign(self, records: Records) -> np.ndarray:
        """The number of the canvas of each record.

        Raises:
            DataError: an image fits none.
        """
        if self.resized is None:
            return np.zeros(len(records), np.int64)
        sizes, size_of = np.unique(records.sizes, axis=0, return_inverse=True)
        of_size = [buckets.choose_bucket(self.resized((h, w)), self.shapes) for h, w in sizes.tolist()]
        chosen = np.asarray(of_size, np.int64)[size_of.reshape(-1)]
        if -1 in chosen:
            record = records[int(np.argmax(chosen == -1))]
            raise DataError(
                f"Image {record.name} ({record.height}x{record.width}) fits none of the canvas shapes "
                f"{self.shapes} after resizing: add a larger one to data.buckets."
            )
        return chosen


def plan(split: Split, chain: list[Transform], records: Records, training: bool = False) -> Canvases:
    """The canvases that hold the images of a chain of transforms.

    Args:
        split: the data section.
        chain: its transforms.
        records: the images.
        training: a step has one part of the sizes (:attr:`Extent.parts`).

    Raises:
        DataError: a transform gives images sizes that nobody knows before, and no ``buckets`` are given.
    """
    extent = spec.extent_of(chain)
    if extent.kind == "unknown" and not split.buckets:
        raise DataError(
            f"The transform {extent.cause} gives images sizes that are not known before, and no Resize to a "
            "size follows: list the canvases that hold them in data.buckets, [[h, w], ...]."
        )
    of_step = None
    if extent.by_step and not split.buckets:
        of_step = _of_step(chain, split.divisor or 1)
    shapes, resized = _shapes(split, extent, records)
    found = Canvases(
        shapes=[(height, width) for height, width in split.buckets or sorted(shapes)],
        resized=resized,
        fixed=bool(split.buckets) or extent.kind == "fixed",
        of_step=of_step,
    )
    if training and extent.parts and not split.buckets:
        found = dataclasses.replace(found, of_part=_of_parts(found, extent, records, split.divisor or 32))
    return found


def _of_parts(whole: Canvases, extent: Extent, records: Records, divisor: int) -> np.ndarray:
    """The canvas of every shape of ``whole`` and every part of the sizes, int ``[shapes, parts, 2]``."""
    limits = np.array([[[buckets.round_up(side, divisor) for side in limit] for limit in extent.parts]])
    if not extent.straight:
        return np.max(limits, -1, keepdims=True).repeat(2, -1)
    largest = np.zeros((len(whole.shapes), len(extent.parts), 2), np.int64)
    for size in _sizes(records):
        bucket = buckets.choose_bucket(resize.fitted(size, extent.size or ()), whole.shapes)
        for part, limit in enumerate(extent.parts):
            # two pixels for what transforms before the resizing may have rounded
            own = [buckets.round_up(side + 2, divisor) for side in resize.fitted(size, limit)]
            largest[bucket, part] = np.maximum(largest[bucket, part], own)
    long, short = limits.max(-1), limits.min(-1)  # [1, parts]
    upright = np.array([[height > width] for height, width in whole.shapes])  # [shapes, 1]
    most = np.stack([np.where(upright, long, short), np.where(upright, short, long)], -1)
    return np.minimum(largest, most)


def _sizes(records: Records) -> list[Size]:
    """The different (h, w) of the images, sorted."""
    return [(height, width) for height, width in np.unique(records.sizes, axis=0).tolist()]


def _shapes(split: Split, extent: Extent, records: Records) -> tuple[Any, Callable[[Size], Size] | None]:
    if extent.kind == "own":
        resized = functools.partial(resize.scaled, factor=extent.factor)
        own = {resized(size) for size in _sizes(records)}
        return {buckets.own_canvas(size, split.divisor or 32, split.center_pad) for size in own}, resized
    if extent.kind == "unknown" or extent.size is None:
        return [], None
    if extent.kind == "fixed":
        return spec.canvas_shapes(extent.size, True, split.divisor), None
    if not extent.straight:  # a window may be upright in a wide image: one canvas for all
        return spec.canvas_shapes((max(extent.size),) * 2, True, split.divisor or 32), None
    shapes = spec.canvas_shapes(extent.size, False, split.divisor)
    return shapes, functools.partial(resize.fitted, limit=extent.size)


def _of_step(chain: list[Transform], divisor: int) -> Callable[[tf.Tensor, int], tf.Tensor]:
    last = next(one for one in reversed(chain) if isinstance(one, Resize))

    def of_step(step: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return buckets.own_canvas_tensor(last.of_step(step, seed)[::-1], divisor)

    return of_step
