"""Which canvas shapes batches come in, and which images share one."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kdet.data import buckets, resize, spec
from kdet.data.extent import Extent
from kdet.data.index import Record
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
    """

    shapes: list[Size]
    resized: Callable[[Size], Size] | None = None
    fixed: bool = False
    of_step: Callable[[tf.Tensor, int], tf.Tensor] | None = None

    def assign(self, records: list[Record]) -> np.ndarray:
        """The number of the canvas of each record.

        Raises:
            DataError: an image fits none.
        """
        if self.resized is None:
            return np.zeros(len(records), np.int64)
        chosen = [buckets.choose_bucket(self.resized((r.height, r.width)), self.shapes) for r in records]
        if -1 in chosen:
            record = records[chosen.index(-1)]
            raise DataError(
                f"Image {record.name} ({record.height}x{record.width}) fits none of the canvas shapes "
                f"{self.shapes} after resizing: add a larger one to data.buckets."
            )
        return np.asarray(chosen, np.int64)


def plan(split: Split, chain: list[Transform], records: list[Record]) -> Canvases:
    """The canvases that hold the images of a chain of transforms.

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
    return Canvases(
        shapes=[(height, width) for height, width in split.buckets or sorted(shapes)],
        resized=resized,
        fixed=bool(split.buckets) or extent.kind == "fixed",
        of_step=of_step,
    )


def _shapes(split: Split, extent: Extent, records):
    if extent.kind == "own":
        resized = functools.partial(resize.scaled, factor=extent.factor)
        own = {resized((r.height, r.width)) for r in records}
        return {buckets.own_canvas(size, split.divisor or 32, split.center_pad) for size in own}, resized
    if extent.kind == "unknown" or extent.size is None:
        return [], None
    if extent.kind == "fixed":
        return spec.canvas_shapes(extent.size, True, split.divisor), None
    if not extent.straight:  # a window may be upright in a wide image: one canvas for all
        return spec.canvas_shapes((max(extent.size),) * 2, True, split.divisor or 32), None
    shapes = spec.canvas_shapes(extent.size, False, split.divisor)
    return shapes, functools.partial(resize.fitted, limit=extent.size)


def _of_step(chain, divisor):
    last = next(one for one in reversed(chain) if isinstance(one, Resize))

    def of_step(step: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return -(-last.of_step(step, seed)[::-1] // divisor) * divisor

    return of_step
