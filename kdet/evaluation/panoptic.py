"""Panoptic quality (Kirillov et al., 2019), as COCO's panoptic task computes it."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from kdet.data.coco_panoptic import PanopticSegments
from kdet.data.index import DatasetIndex
from kdet.typing import Array

MATCHED = 0.5  # segments that overlap by more match; there is at most one such pair


@dataclasses.dataclass(frozen=True)
class PanopticResult:
    """The panoptic segments that were found in one image, in a few kilobytes.

    Attributes:
        size: (h, w) of the image.
        labels: of the segments 1, 2 ...
        packed: their map, deflated.
    """

    size: tuple[int, int]
    labels: tuple[int, ...]
    packed: bytes

    @classmethod
    def of(cls, panoptic: Array, labels: Sequence[int] | Array) -> "PanopticResult":
        """From a map ``[h,w]`` of 0 and 1 + the rows of ``labels``."""
        content = zlib.compress(np.ascontiguousarray(panoptic, np.uint16).tobytes(), 1)
        height, width = panoptic.shape
        return cls((height, width), tuple(int(label) for label in labels), content)

    def map(self) -> Array:
        """The map ``[h,w]`` int64."""
        values = np.frombuffer(zlib.decompress(self.packed), np.uint16)
        return values.reshape(self.size).astype(np.int64)


class PanopticQuality:
    """Counts of matches and misses, image by image.

    Args:
        num_labels: things and stuff.

    Attributes:
        iou: summed overlaps of the matches of every label, float64 ``[num_labels]``.
        matched, invented, missed: counts of every label (true positives, false positives and negatives).
    """

    def __init__(self, num_labels: int) -> None:
        self.iou = np.zeros(num_labels)
        self.matched, self.invented, self.missed = (np.zeros(num_labels, np.int64) for _ in range(3))

    def add(
        self,
        truth: Array,
        wanted: Mapping[int, int],
        crowds: frozenset[int],
        found: Array,
        labels: Sequence[int],
    ) -> None:
        """Adds one image.

        Args:
            truth: numbers of the true segments ``[h,w]``.
            wanted: ``{number: label}`` of those that count; other pixels are void.
            crowds: numbers of crowds, which need not be found.
            found: map ``[h,w]`` of 0 and 1 + the rows of ``labels``.
            labels: of the found segments.
        """
        base = len(labels) + 1
        pairs, counts = np.unique(truth.astype(np.int64) * base + found, return_counts=True)
        shared = {divmod(pair, base): count for pair, count in zip(pairs.tolist(), counts.tolist())}
        true_area: dict[int, int] = {}
        found_area: dict[int, int] = {}
        void: dict[int, int] = {}
        for (number, segment), count in shared.items():
            true_area[number] = true_area.get(number, 0) + count
            found_area[segment] = found_area.get(segment, 0) + count
            if number not in wanted:
                void[segment] = void.get(segment, 0) + count
        done_true, done_found = set(), {0}
        for (number, segment), count in shared.items():
            if segment == 0 or number not in wanted or number in crowds:
                continue
            label = wanted[number]
            if labels[segment - 1] != label:
                continue
            iou = count / (found_area[segment] + true_area[number] - count - void.get(segment, 0))
            if iou > MATCHED:
                self.iou[label] += iou
                self.matched[label] += 1
                done_true.add(number)
                done_found.add(segment)
        crowd_of = {}
        for number, label in wanted.items():
            if number in crowds:
                crowd_of[label] = number
            elif number not in done_true:
                self.missed[label] += 1
        for segment, area in found_area.items():
            if segment in done_found:
                continue
            label = labels[segment - 1]
            excused = void.get(segment, 0) + shared.get((crowd_of.get(label, -1), segment), 0)
            if excused / area <= MATCHED:
                self.invented[label] += 1

    def figures(self, num_stuff: int) -> dict[str, float]:
        """``PQ``, ``SQ``, ``RQ`` in 0..1, of all labels, things and stuff: means over those that occur."""
        things = len(self.iou) - num_stuff
        groups = {"": slice(None), "_things": slice(0, things), "_stuff": slice(things, None)}
        found = {}
        for suffix, rows in groups.items():
            matched, iou = self.matched[rows], self.iou[rows]
            total = matched + 0.5 * (self.invented[rows] + self.missed[rows])
            occurs = total > 0
            if not occurs.any():
                continue
            matched, iou, total = matched[occurs], iou[occurs], total[occurs]
            found[f"PQ{suffix}"] = float(np.mean(iou / total))
            found[f"SQ{suffix}"] = float(np.mean(iou / np.maximum(matched, 1)))
            found[f"RQ{suffix}"] = float(np.mean(matched / total))
        return found


def panoptic_metrics(
    index: DatasetIndex, results: Mapping[int, PanopticResult], image_ids: set[int]
) -> dict[str, float]:
    """The figures of ``PanopticQuality`` for some images; an image without a result has no segment.

    Args:
        index: of ``CocoPanopticReader``.
        results: by image id.
        image_ids: the images that were looked at.
    """
    quality = PanopticQuality(len(index.class_names))
    for record in index.records:
        if record.image_id not in image_ids or record.segments is None:
            continue
        truth: PanopticSegments = record.segments
        empty = PanopticResult.of(np.zeros((record.height, record.width), np.uint16), ())
        found = results.get(record.image_id, empty)
        numbers = truth.numbers(record.height, record.width)
        quality.add(numbers, truth.labels, truth.crowds, found.map(), found.labels)
    return quality.figures(index.num_stuff)
