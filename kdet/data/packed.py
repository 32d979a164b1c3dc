"""Many small values as bytes: one run of bytes and where each value lies in it.

A value becomes a Python object only when it is asked for, so a million of them cost their bytes, and none
of the memory of a process where the bytes are those of a mapped file.
"""

import bisect
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import orjson

from kdet.errors import DataError, short
from kdet.typing import Array


class Packed(Sequence[Any]):
    """Values as bytes; what they are, subclasses say.

    Args:
        data: uint8 ``[bytes]``.
        starts: int64 ``[n]``, where each value begins.
        lengths: int ``[n]``, how many bytes it has.
        where: what holds the bytes, for messages.
    """

    def __init__(self, data: Array, starts: Array, lengths: Array, where: str = "") -> None:
        self.data, self.starts, self.lengths, self.where = data, starts, lengths, where

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> "Packed": ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return self.take(np.arange(len(self))[position])
        return self.value(self.encoded(position))

    def encoded(self, position: int) -> bytes:
        """The bytes of one value."""
        start = int(self.starts[position])
        return self.data[start : start + int(self.lengths[position])].tobytes()

    def take(self, positions: Array) -> "Packed":
        """The values at ``positions``; the bytes are shared."""
        return type(self)(self.data, self.starts[positions], self.lengths[positions], self.where)

    def value(self, encoded: bytes) -> Any:
        """What these bytes stand for."""
        raise NotImplementedError(f"{type(self).__name__} must define value().")


class Texts(Packed):
    """Texts as UTF-8. A lone surrogate, which JSON may hold, stays one."""

    def value(self, encoded: bytes) -> str:
        return encoded.decode("utf-8", "surrogatepass")

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Packs texts."""
        return cls(*joined(text.encode("utf-8", "surrogatepass") for text in texts))


class Shapes(Packed):
    """Segmentations as JSON: polygons, run lengths, or a number that the index's ``read_masks`` knows."""

    def value(self, encoded: bytes) -> Any:
        if not encoded:
            return None
        try:
            return orjson.loads(encoded)
        except ValueError as error:
            raise DataError(
                f"{self.where or 'An index'} is damaged: a segmentation is {short(encoded)}. Remove that "
                "folder, and it is made anew."
            ) from error

    @classmethod
    def of(cls, shapes: Iterable[Any]) -> "Shapes | None":
        """Packs segmentations; None where one of them is no JSON (bytes, for example)."""
        try:
            return cls(*joined(encoded_shape(shape) for shape in shapes))
        except TypeError:
            return None


def encoded_shape(shape: Any) -> bytes:
    """One segmentation as :class:`Shapes` holds it.

    Raises:
        TypeError: it is no JSON.
    """
    if shape is None:
        return b""
    if type(shape) not in (list, dict, int, str):  # a tuple would come back as a list
        raise TypeError(f"{type(shape).__name__} is no JSON")
    try:
        return orjson.dumps(shape)
    except orjson.JSONEncodeError as error:  # which is a TypeError
        raise TypeError(str(error)) from error


def joined(values: Iterable[bytes]) -> tuple[Array, Array, Array]:
    """``(data, starts, lengths)`` of values one after the other."""
    data, lengths = bytearray(), []
    for value in values:
        data += value
        lengths.append(len(value))
    sizes = np.asarray(lengths, np.int64)
    return np.frombuffer(data, np.uint8), np.cumsum(sizes) - sizes, sizes


class Chain(Sequence[Any]):
    """Several sequences one after the other, without a copy of what they hold."""

    def __init__(self, parts: Sequence[Sequence[Any]]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts]).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> "Chosen": ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return Chosen(self, np.arange(len(self))[position])
        position = range(len(self))[position]
        part = bisect.bisect_right(self._ends, position)
        return self.parts[part][position - (self._ends[part - 1] if part else 0)]


class Chosen(Sequence[Any]):
    """Some values of a sequence, each found when it is asked for.

    Equal to a list of the same values, and ``+`` makes a list.
    """

    def __init__(self, values: Sequence[Any], positions: Array) -> None:
        self.values, self.positions = values, positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> "Chosen": ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return Chosen(self.values, self.positions[position])
        return self.values[int(self.positions[position])]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self, *other]

    __hash__ = None  # type: ignore[assignment]


def chosen(values: Sequence[Any], positions: Array) -> Sequence[Any]:
    """Some values of a sequence: packed ones stay packed, of a chain or a list they are looked up."""
    if isinstance(values, Packed):
        return values.take(positions)
    if isinstance(values, Chosen):
        return Chosen(values.values, values.positions[positions])
    return Chosen(values, positions)
