"""A COCO annotation file as columns: checked, by image, without any choice of classes or images.

The file is parsed a few megabytes at a time (:mod:`kdet.data.json_stream`), so what it takes is the columns,
and those of a large file lie in a store (:mod:`kdet.data.column_store`). What ``CocoFile`` refuses is left to
it: there the messages come from.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from kdet.data import column_store, files, json_stream
from kdet.data.coco_builder import NAMED, UNNUMBERED, Builder
from kdet.data.coco_file import CocoFile, without_collection
from kdet.data.column_store import Columns, Sink
from kdet.data.index import Faults, Skips
from kdet.data.packed import Shapes, Texts
from kdet.typing import Array, PathLike

KEYS = ("images", "annotations", "categories")
_BLOCK = 2**14  # annotations at a time, where all are in memory


@dataclasses.dataclass(frozen=True)
class CocoTable:
    """What a COCO file says.

    Attributes:
        image_id: int64 ``[n]``.
        sizes: int64 ``[n,2]`` (h, w).
        names: the ``file_name`` of the images.
        categories: the list of ``categories``.
        splits: int64 ``[n+1]``: rows ``splits[i]`` to ``splits[i+1]`` of what follows are of image ``i``.
        category: int32 ``[k]``, positions in ``categories``.
        boxes: float64 ``[k,4]`` xywh; 0 where there is none of use (not ``BOXED``).
        areas: float64 ``[k]``, NaN where there is none.
        flags: uint8 ``[k]``: ``CROWD``, ``IGNORED``, ``BOXED``.
        shapes: the segmentations, None for those without one; None: they were not asked for.
        numbers, odd: the ``id`` of the annotations, see :meth:`label`.
        notes: ``(kind, whether it is a fault, [[where, reason] of a few], count)`` of what is left out.
    """

    image_id: Array
    sizes: Array
    names: Texts
    categories: list[dict[str, Any]]
    splits: Array
    category: Array
    boxes: Array
    areas: Array
    flags: Array
    shapes: Shapes | None
    numbers: Array
    odd: dict[str, Any]
    notes: list[tuple[str, bool, list[list[str]], int]]

    def label(self, row: int) -> str:
        """The ``id`` of an annotation as the file has it."""
        if self.flags[row] & UNNUMBERED:
            return "None"
        return str(self.odd[str(row)] if self.flags[row] & NAMED else int(self.numbers[row]))

    def report(self, path: PathLike, faults: Faults) -> None:
        """Counts what was left out, or raises where that is an error."""
        for kind, is_fault, examples, count in self.notes:
            for where, reason in examples:
                if is_fault:
                    faults.add(kind, f"{path}: {where}", reason)
                else:
                    faults.skips.add(kind, where)
            faults.skips.counts[kind] += count - len(examples)


@without_collection()
def read_table(path: PathLike, masks: bool, faults: Faults) -> CocoTable:
    """The table of a COCO file, from its store if there is one.

    Args:
        path: of the JSON file.
        masks: with the segmentations.
        faults: what becomes of unusable entries; they are counted by :meth:`CocoTable.report`.

    Raises:
        MissingFile, DataError: as ``CocoFile``.
    """
    files.open_regular(path, "annotation file").close()
    build = functools.partial(_built, path, masks, faults)
    columns = column_store.columns_of(path, "masks" if masks else "boxes", build)
    arrays, facts = columns.arrays, columns.facts
    if faults.raises and any(is_fault for _, is_fault, _, _ in facts["notes"]):
        CocoFile(path, faults, masks)  # which says what is wrong first
    return CocoTable(
        image_id=arrays["image_id"],
        sizes=arrays["sizes"],
        names=Texts(arrays["names"], arrays["name_starts"], arrays["name_lengths"]),
        categories=facts["categories"],
        splits=arrays["splits"],
        category=arrays["category"],
        boxes=arrays["boxes"],
        areas=arrays["areas"],
        flags=arrays["flags"],
        shapes=Shapes(arrays["shapes"], arrays["shape_starts"], arrays["shape_lengths"], columns.where)
        if masks
        else None,
        notes=[tuple(note) for note in facts["notes"]],
        numbers=arrays["numbers"],
        odd=facts["odd"],
    )


def _built(path: PathLike, masks: bool, faults: Faults, sink: Callable[[str], Sink]) -> Columns:
    """The columns, parsed in blocks; of a file that is unusual, as a whole."""
    shapes = sink("shapes") if masks else None
    try:
        return _streamed(path, shapes)
    except json_stream.Unusual:
        if shapes is not None:
            shapes.close()
        CocoFile(path, Faults(Skips(), "error" if faults.raises else "skip"), masks)  # says what is wrong
    content = files.read_json(path, "annotation file")
    builder = Builder(sink("shapes") if masks else None, exact=True)
    builder.add_categories(content["categories"])
    builder.add_images(content["images"])
    entries = content.get("annotations") or []
    for first in range(0, len(entries), _BLOCK):
        builder.add_annotations(entries[first : first + _BLOCK])
    return builder.columns()


def _streamed(path: PathLike, sink: Sink | None) -> Columns:
    builder, later, seen = Builder(sink), False, set()
    with files.open_regular(path, "annotation file") as file:
        for key, entries in json_stream.lists(file, KEYS):
            seen.add(key)
            if key == "images":
                builder.add_images(entries)
            elif key == "categories":
                builder.add_categories(entries)
            elif sink is not None and "images" not in seen:
                later = True  # a segmentation is held against the size of its image
            else:
                builder.add_annotations(entries)
        if not {"images", "categories"} <= seen:
            raise json_stream.Unusual("no images or no categories")
        if later:
            file.seek(0)
            for key, entries in json_stream.lists(file, KEYS):
                if key == "annotations":
                    builder.add_annotations(entries)
    return builder.columns()
