"""What a writer of data sets is, and what all of them do with images."""

import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from kdet.data import decoding
from kdet.data.index import DatasetIndex, Record, Skips
from kdet.errors import DataError
from kdet.registry import Component
from kdet.typing import PathLike
from kdet.writing import writing

HARMLESS = 0.01  # pixels that rounding in a file moves a box by
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
ENDING_OF = {"jpeg": ".jpg", "png": ".png", "bmp": ".bmp", "gif": ".gif"}


class Writer(Component):
    """Writes data sets in one format; derive from it, register the class, and name it by its type.

    Args:
        folder: where the data set goes.
        class_names: of all splits, by label.
        link: hard links in the place of copies of the images, where the disk can.

    Attributes:
        losses: what the format cannot hold, counted.
    """

    def __init__(self, folder: PathLike, class_names: Sequence[str], link: bool = False) -> None:
        self.folder, self.class_names, self.link = pathlib.Path(folder), list(class_names), link
        self.losses = Skips()

    def add(self, split: str, index: DatasetIndex) -> None:
        """Writes one split."""
        raise NotImplementedError(f"{type(self).__name__} must define add().")

    def close(self) -> None:
        """Writes what stands for all splits together."""


class Places:
    """The names of the images in a new data set, and their files.

    The folder that all old names start with is left out; names that would clash get a number.

    Args:
        index: of the images.
        folder: where they go.
        link: see :class:`Writer`.
        by_stem: names that differ in their ending alone clash too.
    """

    def __init__(self, index: DatasetIndex, folder: pathlib.Path, link: bool, by_stem: bool = False) -> None:
        self._index, self._folder, self._link, self._by_stem = index, folder, link, by_stem
        names = [_parts(record.name) for record in index.records]
        shared = os.path.commonprefix([parts[:-1] for parts in names]) if names else []
        self._names = [parts[len(shared) :] for parts in names]
        self._taken: set[str] = set()

    def images(self) -> Iterator[tuple[Record, str]]:
        """``(record, new name)`` of every image, after its file was written; shows a bar in a terminal.

        Raises:
            DataError: a file is no image. WriteError: it cannot be written.
        """
        bar = tqdm(
            zip(self._index.records, self._names, strict=True),
            total=len(self._index),
            unit=" images",
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        for record, parts in bar:
            encoded = self._index.read(record)
            name = self._free(pathlib.PurePosixPath(*parts), self._ending(record, encoded))
            self._place(record, encoded, self._folder / name)
            yield record, name

    def _ending(self, record: Record, encoded: bytes) -> str:
        """What a name lacks, as those of VOC do: the ending that says what kind of image it is."""
        try:
            kind = decoding.kind_of(encoded)
        except decoding.CorruptImage as error:
            raise DataError(f"The image {record.name} of {self._index.name} {error}.") from error
        return "" if record.name.lower().endswith(ENDINGS) else ENDING_OF[kind]

    def _free(self, wanted: pathlib.PurePosixPath, ending: str) -> str:
        wanted = wanted.with_name(wanted.name + ending)
        name, number = wanted, 0
        while self._key(name) in self._taken:
            number += 1
            name = wanted.with_name(f"{wanted.stem}_{number}{wanted.suffix}")
        self._taken.add(self._key(name))
        return str(name)

    def _key(self, name: pathlib.PurePosixPath) -> str:
        return str(name.with_suffix("") if self._by_stem else name).casefold()

    def _place(self, record: Record, encoded: bytes, target: pathlib.Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target):
            if self._link and isinstance(record.source, str) and _linked(record.source, target):
                return
            if isinstance(record.source, str) and os.path.realpath(record.source) == os.path.realpath(target):
                raise DataError(f"{target} is an image of the data set itself: choose another folder.")
            target.write_bytes(encoded)
            if isinstance(record.source, str):
                shutil.copystat(record.source, target)


def _linked(source: str, target: pathlib.Path) -> bool:
    """Makes a hard link; False where the disk has none."""
    target.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        return False
    return True


def _parts(name: str) -> list[str]:
    """The parts of a name that stay inside a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return parts or ["image"]


def new_folder(folder: PathLike) -> pathlib.Path:
    """The folder as a path, created.

    Raises:
        DataError: it holds something already.
    """
    path = pathlib.Path(folder)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise DataError(f"The folder {path} is not empty: choose a new one.")
    return path


def clipped(box: Sequence[float], record: Record, losses: Skips) -> list[float] | None:
    """A box ``[x1, y1, x2, y2]`` within its image, None where too little is left; both are counted."""
    x1, y1, x2, y2 = (float(v) for v in box)
    inside = [max(x1, 0.0), max(y1, 0.0), min(x2, float(record.width)), min(y2, float(record.height))]
    if all(abs(a - b) < HARMLESS for a, b in zip(inside, (x1, y1, x2, y2), strict=True)):
        return inside
    if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
        losses.add("object of which less than a pixel lies within the image, left out", record.name)
        return None
    losses.add("box that reaches out of the image, cut to it", record.name)
    return inside
