"""The images of a data set, decoded; those that cannot be used are refused, or left out and counted."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdet.data import decoding
from kdet.data.index import DatasetIndex, Record, Skips
from kdet.errors import DataError, MissingFile
from kdet.typing import Array

logger = logging.getLogger("kdet.data")


class Images:
    """Reads and decodes the images of an index.

    Args:
        index: the data set.
        bucket: int ``[n]``, the bucket of each image; another of the same stands in for one that is unusable.
        skip_corrupt: leave unusable images out.

    Attributes:
        skips: the images that were left out so far, each once.
    """

    def __init__(self, index: DatasetIndex, bucket: Array, skip_corrupt: bool) -> None:
        self.index, self.skips = index, Skips()
        self._bucket, self._skip_corrupt = bucket, skip_corrupt
        self._objects = index.records.objects.counts
        self._noted: set[Any] = set()

    def at(self, i: int) -> tuple[Array, np.int64]:
        """Image ``i`` (RGB uint8 ``[h,w,3]``) and its number, or the next usable one of its bucket, if there
        is one of those that have no more objects.

        Raises:
            DataError, MissingFile: it cannot be used and may not be left out, or none is left.
        """
        for candidate in self._candidates(i):
            image = self.usable(self.index.records[candidate])
            if image is not None:
                return image, np.int64(candidate)
        raise DataError(f"No usable image is left in {self.index.name}.")

    def usable(self, record: Record) -> Array | None:
        """The image of a record; None where it cannot be used and may be left out."""
        try:
            return self._decoded(record)
        except (DataError, OSError) as error:
            if not self._skip_corrupt:
                kind = MissingFile if isinstance(error, FileNotFoundError) else DataError
                raise kind(
                    f"Image {record.name} of {self.index.name} {str(error).rstrip('.')}. Repair or remove "
                    "it, or set data.on_corrupt: skip."
                ) from error
            self._note(record, error)
        return None

    def _candidates(self, i: int) -> Iterator[int]:
        yield i
        same = np.flatnonzero(self._bucket == self._bucket[i])  # only when image i was unusable
        others = np.roll(same, -int(np.searchsorted(same, i)))[1:]
        fits = self._objects[others] <= self._objects[i]  # what the batch has room for goes first
        yield from (*others[fits], *others[~fits])

    def _decoded(self, record: Record) -> Array:
        encoded = self.index.read(record)
        image = decoding.decode(encoded)
        expected = (record.height, record.width)
        if image.shape[:2] != expected and image.shape[1::-1] == expected:
            image = decoding.decode(encoded, orient=False)  # annotated on the image as it lies on disk
        if image.shape[:2] != expected:
            raise decoding.CorruptImage(
                f"is {image.shape[0]}x{image.shape[1]} (h x w) but its annotation says "
                f"{record.height}x{record.width}"
            )
        return image

    def _note(self, record: Record, error: Exception) -> None:
        if record.name not in self._noted:
            self._noted.add(record.name)
            self.skips.add("unusable image", f"{record.name} {error}")
            logger.warning("Skipping image %s, which %s", record.name, error)
