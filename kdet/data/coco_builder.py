"""The columns of a COCO file, gathered from blocks of its lists."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from kdet.data import json_stream, segmentations
from kdet.data.coco_file import annotation_fault, category_names, derived_box, image_fault, is_box
from kdet.data.column_store import Columns, Sink
from kdet.data.index import EXAMPLES
from kdet.data.packed import joined
from kdet.errors import DataError, short
from kdet.typing import Array, Pair

_LARGE = 2**62
# what the flags of an annotation say; UNNUMBERED and NAMED of its id: there is none, or no whole number;
# DERIVED of its box: it is that around the polygons
CROWD, IGNORED, BOXED, UNNUMBERED, NAMED, DERIVED = 1, 2, 4, 8, 16, 32


class Left:
    """What is left out: by kind its first place, how often, and examples."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, bool, list[list[str]], int]] = {}

    def add(
        self, kind: str, place: int, examples: Iterable[list[str]], count: int, is_fault: bool = False
    ) -> None:
        """``examples``: ``[where, reason]`` of the first few; ``place``: that of the first, to sort by."""
        first, _, shown, before = self._found.get(kind, (place, is_fault, [], 0))
        shown += list(examples)[: EXAMPLES - len(shown)]
        self._found[kind] = first, is_fault, shown, before + count

    def listed(self) -> list[list[Any]]:
        """``[kind, is_fault, examples, count]``, the earliest first."""
        in_order = sorted(self._found.items(), key=lambda item: item[1][0])
        return [[kind, *rest] for kind, (_, *rest) in in_order]


class Builder:
    """Gathers the columns.

    Args:
        sink: takes the segmentations; None: they are left alone.
        exact: whole numbers of any size are as they stand in the file.
    """

    def __init__(self, sink: Sink | None, exact: bool = False) -> None:
        self._sink, self._exact = sink, exact
        self._categories: list[dict[str, Any]] = []
        self._image_ids: list[int] = []
        self._sizes: list[Pair] = []
        self._names: list[str] = []
        self._size_of: dict[int, Pair] = {}
        self._parts: list[dict[str, Array]] = []
        self._ids: list[Array] = []
        self._odd: dict[int, Any] = {}
        self._count = self._good = 0
        self._damaged: dict[int, str] = {}
        self._image_notes, self._entry_notes = Left(), Left()

    def add_categories(self, entries: list[dict[str, Any]]) -> None:
        if any("id" not in entry or "name" not in entry for entry in entries):
            raise json_stream.Unusual("a category lacks a field")
        self._categories += entries

    def add_images(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            named = "file_name" in entry or "coco_url" in entry
            if not named or not {"id", "height", "width"} <= entry.keys():
                raise json_stream.Unusual("an image lacks a field")
            reason = image_fault(entry)
            if reason:
                self._refuse_rounded(entry, ("id", "height", "width"))
                example = [f"image {short(entry.get('file_name', entry['id']))}", reason]
                self._image_notes.add("unusable entry of 'images'", 0, [example], 1, is_fault=True)
                continue
            size = int(entry["height"]), int(entry["width"])
            self._image_ids.append(int(entry["id"]))
            self._sizes.append(size)
            self._size_of[int(entry["id"])] = size
            # LVIS v1 has the address alone
            self._names.append(entry.get("file_name") or "/".join(entry["coco_url"].split("/")[-2:]))

    def add_annotations(self, entries: list[dict[str, Any]]) -> None:
        good, places = [], []
        for place, entry in enumerate(entries, self._count):
            reason = annotation_fault(entry)
            if reason:
                self._refuse_rounded(entry, ("image_id", "category_id", "id"))
                number, image = short(entry.get("id")), short(entry.get("image_id"))
                example = [f"annotation {number} of image id {image}", reason]
                self._entry_notes.add("unusable annotation", place, [example], 1, is_fault=True)
            else:
                good.append(entry)
                places.append(place)
        self._count += len(entries)
        found = [entry.get("bbox") or derived_box(entry) for entry in good]
        usable = [is_box(box) for box in found]
        flags = np.array([
            (CROWD if e.get("iscrowd") else 0) | (IGNORED if e.get("ignore") else 0)
            | (BOXED if u else 0) | (0 if e.get("bbox") else DERIVED)
            for e, u in zip(good, usable, strict=True)
        ], np.uint8)  # fmt: skip
        part = {
            "places": np.array(places, np.int64),
            "image": _whole([entry["image_id"] for entry in good]),
            "category": _whole([entry["category_id"] for entry in good]),
            "boxes": np.array(
                [box if u else (0, 0, 0, 0) for box, u in zip(found, usable, strict=True)], np.float64
            ).reshape(-1, 4),
            "areas": np.array([np.nan if e.get("area") is None else e["area"] for e in good], np.float64),
            "numbers": self._number(good, flags),
            "flags": flags,
        }
        if self._sink is not None:
            part.update(self._pack(good, self._sink))
        self._parts.append(part)
        self._good += len(good)

    def _refuse_rounded(self, entry: dict[str, Any], keys: Iterable[str]) -> None:
        """orjson makes floats of whole numbers above 64 bits: the message needs them as they are."""
        if self._exact:
            return
        if any(type(entry.get(key)) is float and abs(entry[key]) >= 2.0**63 for key in keys):
            raise json_stream.Unusual("a number of more than 64 bits")

    def _number(self, good: Sequence[dict[str, Any]], flags: Array) -> Array:
        """The ids int64 ``[k]``; the flags and ``_odd`` say which are something else, and what."""
        ids = [entry.get("id") for entry in good]
        for position, number in enumerate(ids):
            if type(number) is not int or not -_LARGE < number < _LARGE:
                flags[position] |= UNNUMBERED if number is None else NAMED
                if number is not None:
                    self._odd[self._good + position] = number
        return _whole([number if isinstance(number, (int, float)) else -1 for number in ids])

    def _pack(self, good: Sequence[dict[str, Any]], sink: Sink) -> dict[str, Array]:
        """Checks the segmentations and writes them."""
        sizes = [self._size_of.get(entry["image_id"]) for entry in good]
        shapes = [
            None
            if size is None or segmentations.is_empty(entry.get("segmentation"))
            else entry["segmentation"]
            for entry, size in zip(good, sizes, strict=True)
        ]
        damaged = segmentations.faults(shapes, [size or (1, 1) for size in sizes])
        for position, reason in damaged.items():
            self._damaged[self._good + position] = reason
            shapes[position] = None
        data, starts, lengths = joined(map(_encoded, shapes))
        starts = starts + sink.size
        sink.write(data.tobytes())
        return {"shape_starts": starts, "shape_lengths": lengths.astype(np.int32)}

    def columns(self) -> Columns:
        try:
            names = category_names("", self._categories)
        except DataError as error:
            raise json_stream.Unusual(str(error)) from error
        image_id = np.array(self._image_ids, np.int64)
        if len(np.unique(image_id)) < len(image_id):
            raise json_stream.Unusual("two images with one id")
        if not self._parts:
            self.add_annotations([])
        whole = {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}
        self._parts.clear()
        self._refuse_twins(whole)
        image = _positions(image_id, whole["image"])
        category = _positions(np.array(list(names), np.int64), whole["category"])
        keep = self._without_strangers(whole, image, category)
        order = np.flatnonzero(keep)[np.argsort(image[keep], kind="stable")]
        order = self._without_damaged(whole, order, image)
        arrays: dict[str, Array] = {
            key: whole[key][order]
            for key in ("boxes", "areas", "flags", "numbers", "shape_starts", "shape_lengths")
            if key in whole
        }
        counts = np.bincount(image[order], minlength=len(image_id))
        data, starts, lengths = joined(name.encode("utf-8", "surrogatepass") for name in self._names)
        arrays.update(
            image_id=image_id,
            sizes=np.array(self._sizes, np.int64).reshape(-1, 2),
            splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            category=category[order].astype(np.int32),
            names=data,
            name_starts=starts,
            name_lengths=lengths,
        )
        if self._sink is not None:
            arrays["shapes"] = self._sink.close()
        notes = [*self._image_notes.listed(), *self._entry_notes.listed(), *self._damage_notes]
        rows = {int(place): row for row, place in enumerate(order)} if self._odd else {}
        odd = {str(rows[place]): number for place, number in self._odd.items() if place in rows}
        return Columns(arrays, {"categories": self._categories, "notes": notes, "odd": odd})

    def _refuse_twins(self, whole: dict[str, Array]) -> None:
        """Two annotations with one id are an error, whatever becomes of other faults."""
        own = {row: number for row, number in self._odd.items() if type(number) is not float}
        numbered = (whole["flags"] & UNNUMBERED) == 0
        numbered[list(own)] = False
        numbers = whole["numbers"][numbered]
        if len(set(own.values())) < len(own) or len(np.unique(numbers)) < len(numbers):
            raise json_stream.Unusual("two annotations with one id")

    def _without_strangers(self, whole: dict[str, Array], image: Array, category: Array) -> Array:
        """bool ``[k]``: the annotations of images and categories that are listed; the others are noted."""
        unlisted = image < 0
        unknown = ~unlisted & (category < 0)
        for kind, found in (
            ("annotation of an image that is not listed", unlisted),
            ("annotation of an unknown category id", unknown),
        ):
            rows = np.flatnonzero(found)
            if len(rows):
                examples = [[f"annotation {self._id(whole, int(row))}", ""] for row in rows[:EXAMPLES]]
                self._entry_notes.add(kind, int(whole["places"][rows[0]]), examples, len(rows))
        return ~unlisted & ~unknown

    def _without_damaged(self, whole: dict[str, Array], order: Array, image: Array) -> Array:
        """``order`` without the annotations whose segmentation is damaged, which are noted."""
        self._damage_notes: list[list[Any]] = []
        if not self._damaged:
            return order
        bad = np.isin(order, list(self._damaged))
        rows = order[bad].tolist()
        if rows:
            examples = [
                [
                    f"annotation {self._id(whole, row)} of image {self._names[image[row]]}",
                    self._damaged[row],
                ]
                for row in rows[:EXAMPLES]
            ]
            self._damage_notes.append(["object with a damaged segmentation", True, examples, len(rows)])
        return order[~bad]

    def _id(self, whole: dict[str, Array], row: int) -> Any:
        if whole["flags"][row] & UNNUMBERED:
            return None
        return self._odd[row] if row in self._odd else int(whole["numbers"][row])


def _whole(numbers: Sequence[Any]) -> Array:
    """Whole numbers int64; those of 63 bits and more, which are ids of nothing, are -1."""
    try:
        return np.array(numbers, np.int64)
    except OverflowError:
        return np.array([int(n) if -_LARGE < n < _LARGE else -1 for n in numbers], np.int64)


def _encoded(shape: Any) -> bytes:
    if shape is None:
        return b""
    if isinstance(shape, dict):
        shape = {"size": shape["size"], "counts": shape["counts"]}
    return orjson.dumps(shape)


def _positions(keys: Array, wanted: Array) -> Array:
    """Where each of ``wanted`` stands in ``keys``, -1 where it does not."""
    if not len(keys):
        return np.full(len(wanted), -1)
    order = np.argsort(keys, kind="stable")
    places = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    return np.where(keys[order][places] == wanted, order[places], -1)
