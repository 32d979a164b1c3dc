"""Several data sets as one: their classes joined by name."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.data import DatasetIndex, Record
from kdet.data.index import Skips
from kdet.data.records import Objects, Records
from kdet.errors import DataError
from kdet.typing import Array


def merge(
    parts: Sequence[DatasetIndex], classes: Sequence[str] | None = None, prefixes: Sequence[str] | None = None
) -> DatasetIndex:
    """One index over the images of several, of whatever formats; images are numbered anew from 1.

    Args:
        parts: the indexes.
        classes: the classes in their order; None: those of the first part, then what the others add.
        prefixes: put in front of the names of each part's images, so that they stay apart.

    Returns:
        ``DatasetIndex``. It has masks where all parts have them.

    Raises:
        DataError: a part has a class that ``classes`` does not name.

    Example:
        >>> both = merge([kdet.data.read_coco("a.json", "a"), kdet.data.read_yolo("b/data.yaml")])
    """
    names = list(classes) if classes else list(dict.fromkeys(n for part in parts for n in part.class_names))
    label_of = {name: label for label, name in enumerate(names)}
    records: list[Records] = []
    skips = Skips()
    has_masks = all(part.has_masks for part in parts)
    for number, part in enumerate(parts):
        unknown = [name for name in part.class_names if name not in label_of]
        if unknown:
            raise DataError(f"{part.name} has the class {unknown[0]!r}, which is not among {names}.")
        labels = np.array([label_of[name] for name in part.class_names], np.int32)
        skips.update(part.skips)
        own = part.records
        records.append(
            own.with_columns(
                names=[os.path.join(prefixes[number], name) for name in own.names] if prefixes else own.names,
                objects=_relabeled(own.objects, labels, has_masks),
                ignored=_relabeled(own.ignored, labels, has_masks),
            )
        )
    ends = np.cumsum([len(part) for part in parts])

    def owner(record: Record) -> tuple[DatasetIndex, Record]:
        position = record.image_id - 1
        number = int(np.searchsorted(ends, position, side="right"))
        part = parts[number]
        return part, part.records[position - (int(ends[number - 1]) if number else 0)]

    def read(record: Record) -> bytes:
        part, own = owner(record)
        return part.read(own)

    def read_masks(record: Record, keys: list[Any]) -> list[Any]:
        part, own = owner(record)
        return part.read_masks(own, keys) if part.read_masks else keys

    joined = Records.joined(records)
    return DatasetIndex(
        name=" + ".join(part.name for part in parts),
        class_names=names,
        category_ids=list(range(1, len(names) + 1)),
        records=joined.with_columns(image_id=np.arange(1, len(joined) + 1)),
        skips=skips,
        has_masks=has_masks,
        read=read,
        read_masks=read_masks,
    )


def _relabeled(objects: Objects, labels: Array, has_masks: bool) -> Objects:
    shapes = objects.shapes if has_masks else None
    return dataclasses.replace(objects, labels=labels[objects.labels], shapes=shapes)


def subset(index: DatasetIndex, positions: Sequence[int], name: str) -> DatasetIndex:
    """The images at some positions of an index."""
    found = index.first(0)
    found.records = index.records.take(positions)
    found.name = name
    return found
