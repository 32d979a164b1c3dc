"""Detections and objects of a data set as columns: some 50 bytes each, where a dict takes a thousand."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from kdet.data.packed import Chain, chosen
from kdet.typing import Array, Result


@dataclasses.dataclass(frozen=True)
class Columns:
    """Detections, or objects of the ground truth.

    Attributes:
        image: int64 ``[n]``, image ids.
        category: int64 ``[n]``, category ids.
        boxes: float64 ``[n,4]`` xywh; None: there are none.
        shapes: ``n`` segmentations; None: there are none.
        scores: float64 ``[n]``, of detections.
        areas: float64 ``[n]``, of objects.
        crowd: bool ``[n]``, of objects.
    """

    image: Array
    category: Array
    boxes: Array | None = None
    shapes: Sequence[Any] | None = None
    scores: Array | None = None
    areas: Array | None = None
    crowd: Array | None = None

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Array) -> "Columns":
        """Some rows."""
        found = {key: value[rows] for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        shapes = None if self.shapes is None else chosen(self.shapes, rows)
        return dataclasses.replace(self, shapes=shapes, **found)

    def dicts(self) -> Iterator[Result]:
        """The rows as COCO has them."""
        lists: dict[str, Sequence[Any]] = {
            "image_id": self.image.tolist(),
            "category_id": self.category.tolist(),
        }
        if self.boxes is not None:
            lists["bbox"] = self.boxes.tolist()
        for key, column in (("score", self.scores), ("area", self.areas)):
            if column is not None:
                lists[key] = column.tolist()
        if self.crowd is not None:
            lists["iscrowd"] = self.crowd.astype(int).tolist()
        if self.shapes is not None:
            lists["segmentation"] = self.shapes
        keys = tuple(lists)
        return (dict(zip(keys, values, strict=True)) for values in zip(*lists.values(), strict=True))

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """The rows of several, which have the same columns, one after the other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        found = {
            key: np.concatenate([vars(part)[key] for part in parts])
            for key, value in vars(first).items()
            if isinstance(value, np.ndarray)
        }
        shapes = None if first.shapes is None else Chain([part.shapes or () for part in parts])
        return dataclasses.replace(first, shapes=shapes, **found)

    @classmethod
    def of(cls, entries: Sequence[Mapping[str, Any]], boxes: bool = True, truth: bool = False) -> "Columns":
        """The columns of COCO dicts.

        Args:
            entries: results, or annotations with ``area`` and ``iscrowd``.
            boxes: with their boxes, else with their segmentations.
            truth: they are annotations.

        Raises:
            ValueError, TypeError: an id is no whole number, or another value no number.
        """
        numbers = "area" if truth else "score"
        return cls(
            image=whole_numbers([entry["image_id"] for entry in entries]),
            category=whole_numbers([entry["category_id"] for entry in entries]),
            boxes=np.array([e["bbox"] for e in entries], np.float64).reshape(-1, 4) if boxes else None,
            shapes=None if boxes else [entry["segmentation"] for entry in entries],
            **{f"{numbers}s": np.array([entry[numbers] for entry in entries], np.float64)},
            crowd=np.array([bool(entry["iscrowd"]) for entry in entries], bool) if truth else None,
        )


def whole_numbers(values: Sequence[Any]) -> Array:
    """Ids int64 ``[n]``.

    Raises:
        ValueError, OverflowError: one is no whole number of 63 bits.
    """
    found = np.asarray(values)
    if len(found) and found.dtype.kind not in "iu":
        raise ValueError("ids are whole numbers")
    return found.astype(np.int64)


class ResultTable(Sequence[Result]):
    """COCO results over columns: a sequence of dicts that are made when they are asked for."""

    def __init__(self) -> None:
        self._parts: list[Columns] = []

    def add(self, columns: Columns) -> None:
        """Adds detections, which have the columns that the others have."""
        if len(columns):
            self._parts.append(columns)

    @property
    def columns(self) -> Columns:
        """All of them."""
        if not self._parts:
            none = np.zeros(0)
            return Columns(none.astype(np.int64), none.astype(np.int64), np.zeros((0, 4)), scores=none)
        self._parts = [Columns.joined(self._parts)]
        return self._parts[0]

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[Result]:
        return (one for part in self._parts for one in part.dicts())

    @overload
    def __getitem__(self, position: int) -> Result: ...
    @overload
    def __getitem__(self, position: slice) -> list[Result]: ...
    def __getitem__(self, position: int | slice) -> Result | list[Result]:
        if isinstance(position, slice):
            return list(self.columns.take(np.arange(len(self))[position]).dicts())
        row = range(len(self))[position]
        return next(self.columns.take(np.array([row])).dicts())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
