"""Checks of segmentations before anything rasterizes them: COCO polygons and run lengths.

The rasterizers of pycocotools trust their input. Run lengths that do not cover the image leave the rest of
the mask uninitialized, and a polygon whose corners lie far away takes memory by its length. So every
segmentation passes :func:`fault` (one) or :func:`faults` (many at once, a few nanoseconds per coordinate).
"""

import array
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.errors import short
from kdet.typing import Pair

FAR = 4.0  # corners lie at most that many sides of the image outside of it
MAX_OUTLINE = 2**25  # pixels along the outline of one object
_BLOCK = 4096


def fault(segmentation: Any, height: int, width: int) -> str | None:
    """Why one segmentation cannot be rasterized on an image ``(height, width)``, or None."""
    if isinstance(segmentation, dict):
        return _rle_fault(segmentation, height, width)
    if isinstance(segmentation, list):
        return _polygon_fault(segmentation, height, width)
    return f"a segmentation is a list of polygons or a run-length dict, not {short(segmentation)}"


def faults(segmentations: Sequence[Any], sizes: Sequence[Pair]) -> dict[int, str]:
    """``{position: reason}`` of the segmentations that cannot be used.

    Args:
        segmentations: list of polygon lists and RLE dicts; None is passed over.
        sizes: list of the (height, width) of their images.
    """
    found = {}
    for first in range(0, len(segmentations), _BLOCK):
        block = range(first, min(first + _BLOCK, len(segmentations)))
        polygons = [i for i in block if type(segmentations[i]) is list]
        others = [i for i in block if type(segmentations[i]) is not list and segmentations[i] is not None]
        if not _all_plain([segmentations[i] for i in polygons], [sizes[i] for i in polygons]):
            others = [*polygons, *others]
        for i in others:
            reason = fault(segmentations[i], *sizes[i])
            if reason:
                found[i] = reason
    return found


def is_empty(segmentation: Any) -> bool:
    """Whether there is nothing to rasterize: none given, or no polygon with three corners."""
    if type(segmentation) is list:
        for polygon in segmentation:
            if type(polygon) is list and len(polygon) >= 6 and len(polygon) % 2 == 0:
                return False
        return True
    return not (isinstance(segmentation, dict) and "counts" in segmentation and "size" in segmentation)


def bounds(segmentation: Sequence[Sequence[float]]) -> list[float]:
    """``[x, y, w, h]`` around valid polygons."""
    points = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation if len(p) >= 6])
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _all_plain(polygon_lists: list[Any], sizes: list[Pair]) -> bool:
    """Whether these (none empty) are certainly valid polygons; if not, each has to be looked at alone."""
    if not polygon_lists:
        return True
    chain = itertools.chain.from_iterable
    if not set(map(type, chain(polygon_lists))) <= {list}:  # an empty mapping has no numbers that tell
        return False
    try:
        lengths = np.array(list(map(len, chain(polygon_lists))))
        flat = list(chain(chain(polygon_lists)))
        if not set(map(type, flat)) <= {int, float}:
            return False
        values = np.frombuffer(array.array("d", flat))
    except (TypeError, OverflowError):
        return False
    sides = np.repeat([max(size) for size in sizes], list(map(len, polygon_lists))).astype(float)
    # the outline of a polygon has at most as many pixels as corners times the farthest way
    if (lengths % 2).any() or (lengths * sides).sum() > MAX_OUTLINE * len(polygon_lists):
        return False
    if (lengths * sides).max(initial=0) * (2 * FAR + 1) > MAX_OUTLINE / 64:
        return False
    limits = np.repeat(sides, lengths)
    # NaN is not below
    return bool((np.abs(values - limits / 2) <= limits * (FAR + 0.5)).all()) and len(flat) == lengths.sum()


def _polygon_fault(polygons: list[Any], height: int, width: int) -> str | None:
    total, side = 0.0, max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list):
            return f"a polygon is a list of numbers [x, y, x, y, ...], not {short(polygon)}"
        wrong = [v for v in polygon if type(v) not in (int, float)]
        if wrong:
            return f"a polygon holds {short(wrong[0])} where a number should be"
        wrong = [v for v in polygon if not -side * FAR <= v <= side * (FAR + 1)]
        if wrong:
            return f"a polygon holds {short(wrong[0])}, far outside of the {height}x{width} (h x w) image"
        if len(polygon) % 2:
            return f"a polygon has {len(polygon)} numbers, where pairs x, y should be"
        if len(polygon) >= 6:
            points = np.array(polygon, float).reshape(-1, 2)
            total += np.abs(np.roll(points, 1, axis=0) - points).max(axis=1).sum()
    if total > MAX_OUTLINE:
        return f"its polygons are {total:.3g} pixels long; at most {MAX_OUTLINE} are read"
    return None


def _rle_fault(rle: dict[str, Any], height: int, width: int) -> str | None:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, (list, tuple)) or [type(side) for side in size] != [int, int]:
        return f"the 'size' of its run lengths must be [h, w], got {short(size)}"
    if tuple(size) != (height, width):
        return f"its run lengths are for {size[0]}x{size[1]}, the image is {height}x{width} (h x w)"
    if isinstance(counts, (list, tuple)):
        wrong = [count for count in counts if type(count) is not int or not 0 <= count <= height * width]
        if wrong:
            return f"a run length must be a whole number of pixels, got {short(wrong[0])}"
        total = sum(counts)
    elif isinstance(counts, (str, bytes)):
        total, reason = _coded_total(counts, height * width)
        if reason:
            return reason
    else:
        return f"'counts' must be a list of run lengths or COCO's string, got {short(counts)}"
    if total != height * width:
        return f"its run lengths cover {total} pixels, the image has {height}x{width} = {height * width}"
    return None


def _coded_total(counts: str | bytes, most: int) -> tuple[int, str | None]:
    """``(sum of the run lengths, None)`` of COCO's compressed string, or ``(0, what is wrong)``.

    A number is written as digits of five bits, lowest first, with 32 added to all but its last and the sign
    in the last; from the fourth on, numbers are differences to the one two places before.
    """
    try:
        characters = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
    except UnicodeEncodeError:
        return 0, "the string of its run lengths holds other characters than COCO's"
    digits = characters.astype(np.int64) - 48
    if digits.size == 0:
        return 0, None
    if digits.min() < 0 or digits.max() > 63:
        return 0, "the string of its run lengths holds other characters than COCO's"
    last = digits < 32
    if not last[-1]:
        return 0, "the string of its run lengths is cut off"
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:
        return 0, "the string of its run lengths holds a number that is too large"
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((digits & 31) << (5 * place), starts)
    negative = (digits[ends] & 16) > 0
    values -= negative.astype(np.int64) << (5 * (ends - starts + 1))
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    if runs.min() < 0 or runs.max() > most:
        return 0, "the string of its run lengths holds a run that is negative or longer than the image"
    return int(runs.sum()), None
