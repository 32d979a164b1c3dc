"""Everything that is wrong or odd about a data set, in one report."""

import concurrent.futures
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdet.curation.counting import statistics
from kdet.curation.hashes import groups, hashes
from kdet.data import DatasetIndex, Record, decoding
from kdet.data.index import Skips
from kdet.errors import DataError
from kdet.typing import Array

RARE = 10  # a class with fewer objects is worth a word
UNEVEN = 50  # and so is one with so many times fewer than the most frequent


@dataclasses.dataclass
class Report:
    """What a check found.

    Attributes:
        defects: for every split what cannot be used, counted, with examples.
        notes: sentences about what can be used but may surprise.
        statistics: of every split, see :func:`kdet.curation.statistics`.
        suspects: for every split the images with defects, for a contact sheet.
    """

    defects: dict[str, Skips]
    notes: list[str]
    statistics: dict[str, dict[str, Any]]
    suspects: dict[str, list[Record]]

    @property
    def count(self) -> int:
        """Number of defects."""
        return sum(sum(skips.counts.values()) for skips in self.defects.values())

    def lines(self) -> list[str]:
        """The report for people."""
        text = []
        for split, skips in self.defects.items():
            found = self.statistics[split]
            text.append(f"{split}: {found['images']} images, {found['objects']} objects")
            for reason, count in skips.counts.items():
                text.append(f"  {count} x {reason}")
                text += [f"    {example}" for example in skips.examples[reason]]
        text += ["notes:", *(f"  {note}" for note in self.notes)] if self.notes else []
        defects = f"{self.count} defects" if self.count else "no defect"
        return [*text, f"{defects}, {len(self.notes)} notes"]


def check(
    splits: Mapping[str, DatasetIndex],
    *,
    decode: bool = True,
    strides: Sequence[int] = (),
    anchors: Array | None = None,
    scale_of: Any = None,
) -> Report:
    """Looks for defects.

    Args:
        splits: an index by the name of its split, read with ``on_missing="skip"`` and
            ``on_corrupt="skip"``, so that what the reader left out is counted in it.
        decode: decode every image; else only its header is looked at.
        strides: of a model's levels, pixels of its input: boxes smaller than the first are counted.
        anchors: its anchors ``[n, 2]`` (width, height): boxes with an IoU below 0.3 to all are counted.
        scale_of: ``f(height, width) -> factor`` from an image to the model's input; None: 1.
    """
    report = Report({}, [], {}, {})
    found: dict[str, list[str]] = {}
    for split, index in splits.items():
        skips = Skips()
        skips.update(index.skips)
        report.defects[split], report.statistics[split] = skips, statistics(index)
        report.suspects[split] = _images(index, skips, decode)
        found[split] = hashes(index)
        _doubles(index, found[split], skips)
        _boxes(index, split, report, strides, anchors, scale_of)
    _leakage(splits, found, report)
    _balance(splits, report)
    return report


def _images(index: DatasetIndex, skips: Skips, decode: bool) -> list[Record]:
    """The images that cannot be read, or are of another size than the annotations say; counted."""

    def fault(record: Record) -> tuple[str, str] | None:
        try:
            encoded = index.read(record)
            size = decoding.decode(encoded).shape[:2] if decode else decoding.size_of(encoded)
        except (DataError, OSError) as error:
            return "image that cannot be read", f"{record.name}: {error}"
        if tuple(size) != (record.height, record.width):
            says = f"{record.height}x{record.width}"
            return "image of another size than annotated", f"{record.name}: {size[0]}x{size[1]}, not {says}"
        return None

    suspects = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for record, reason in zip(index.records, pool.map(fault, index.records), strict=True):
            if reason:
                skips.add(*reason)
                suspects.append(record)
    return suspects


def _doubles(index: DatasetIndex, found: list[str], skips: Skips) -> None:
    for positions in groups(found):
        if len(positions) > 1:
            names = [index.records[position].name for position in positions]
            skips.add("image that is there several times", " = ".join(names[:4]), len(positions) - 1)
    for record in index.records:
        rows = np.concatenate([record.boxes, record.labels[:, None]], axis=1)
        extra = len(rows) - len(np.unique(rows, axis=0)) if len(rows) else 0
        if extra:
            skips.add("object that stands twice (same box and class)", record.name, extra)


def _leakage(splits: Mapping[str, DatasetIndex], found: dict[str, list[str]], report: Report) -> None:
    """Images that stand in several splits."""
    names = list(splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            places = {value: position for position, value in enumerate(found[first]) if value}
            for position, value in enumerate(found[second]):
                if value in places:
                    pair = splits[first].records[places[value]].name, splits[second].records[position].name
                    report.defects[second].add(f"image that is in {first} too", " = ".join(pair))
                    report.suspects[second].append(splits[second].records[position])


def _balance(splits: Mapping[str, DatasetIndex], report: Report) -> None:
    for split, found in report.statistics.items():
        counts = {name: entry["objects"] for name, entry in found["classes"].items()}
        most = max(counts.values(), default=0)
        absent = [name for name, count in counts.items() if count == 0]
        few = [f"{n} ({c})" for n, c in counts.items() if 0 < c < RARE or 0 < c * UNEVEN < most]
        if absent:
            report.notes.append(f"{split}: no object of {_some(absent)}")
        if few:
            report.notes.append(f"{split}: few objects of {_some(few)}; the most frequent class has {most}")
        if found["images"] and found["empty_images"] * 2 > found["images"]:
            report.notes.append(
                f"{split}: {found['empty_images']} of {found['images']} images have no object"
            )
    lists = {tuple(index.class_names) for index in splits.values()}
    if len(lists) > 1:
        report.notes.append("the splits have different classes: " + "; ".join(map(str, sorted(lists))))


def _boxes(
    index: DatasetIndex,
    split: str,
    report: Report,
    strides: Sequence[int],
    anchors: Array | None,
    scale_of: Any,
) -> None:
    """Notes on boxes that a model of these strides and anchors can hardly find."""
    sides = []
    for record in index.records:
        scale = scale_of(record.height, record.width) if scale_of else 1.0
        sides.append((record.boxes[:, 2:] - record.boxes[:, :2]) * scale)
    boxes = np.concatenate(sides) if sides else np.zeros((0, 2))
    if not len(boxes):
        return
    if strides:
        small = int((boxes.min(1) < min(strides)).sum())
        if small:
            report.notes.append(
                f"{split}: {small} of {len(boxes)} boxes have a side below the smallest stride, "
                f"{min(strides)} pixels of the network's input: train on a larger size (Resize)"
            )
    if anchors is not None:
        best = best_overlaps(boxes, anchors)
        bad = int((best < 0.3).sum())
        report.notes.append(
            f"{split}: the anchors cover boxes with a mean IoU of {best.mean():.2f}"
            + (f"; {bad} of {len(boxes)} below 0.3 (`kdet anchors` fits them)" if bad else "")
        )


def best_overlaps(boxes: Array, anchors: Array) -> Array:
    """IoU of every box with the anchor that fits it best, both around one center.

    Args:
        boxes: ``[n, 2]`` (width, height).
        anchors: ``[m, 2]``.

    Returns:
        ``[n]``.
    """
    best = np.zeros(len(boxes))
    for start in range(0, len(boxes), 65_536):  # blocks bound the memory
        block = boxes[start : start + 65_536, None]
        shared = np.minimum(block, anchors).prod(-1)
        union = block.prod(-1) + anchors.prod(-1) - shared
        best[start : start + len(block)] = (shared / np.maximum(union, 1e-9)).max(1)
    return best


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
