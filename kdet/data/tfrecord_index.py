"""What the examples of a TFRecord file say, beside the file: a start reads no example.

``.NAME.index`` lies beside ``NAME`` (a pattern such as ``train-*`` does not match it) and holds a few
columns. It is written with the file, or when the file is read for the first time, and only where every
example is in order. Whether it belongs to the file is told by the file's size and by the headers and
checksums of some records, which stand in the file in any case.
"""

import dataclasses
import io
import json
import logging
import os
import pathlib
import struct
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from kdet.data.packed import Chosen, Texts, joined
from kdet.data.tfexample import OBJECT, annotations_of, check_names, parsed, records_of
from kdet.errors import KdetError, WriteError
from kdet.typing import Array, PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet.data")

VERSION = 1
SAMPLES = 32  # records that are held against the file


@dataclasses.dataclass(frozen=True)
class ShardIndex:
    """The examples of one file.

    Attributes:
        size: of the file in bytes.
        offsets, lengths: int64 ``[n]``, where the bytes of each example are.
        sums: uint32 ``[n]``, their checksums as the file has them.
        source_id: int64 ``[n]``, ``image/source_id``; -1 where there is none.
        sizes: int64 ``[n,2]`` (h, w).
        names: of the images.
        masked: bool ``[n]``, whether there are as many masks as objects.
        splits: int64 ``[n+1]``: rows of what follows.
        category: int64 ``[k]``, category ids.
        boxes: float64 ``[k,4]`` xywh in pixels.
        crowd: bool ``[k]``.
        classes: names of the category ids.
    """

    size: int
    offsets: Array
    lengths: Array
    sums: Array
    source_id: Array
    sizes: Array
    names: Texts
    masked: Array
    splits: Array
    category: Array
    boxes: Array
    crowd: Array
    classes: dict[int, str]

    def __len__(self) -> int:
        return len(self.offsets)


def shard_index(path: PathLike) -> ShardIndex | None:
    """The index of a file: the one beside it, or made by reading the file through, and kept.

    Returns:
        None where an example is not in order; reading the file says which.
    """
    place = place_of(path)
    try:
        found = _loaded(place)
        if _fits(found, path):
            return found
        logger.warning("The index %s does not belong to %s; it is made anew.", place, path)
    except FileNotFoundError:
        logger.info("Reading through %s once; later starts find its index beside it.", path)
    except Exception as error:  # what a damaged container makes of Python's zip reader is open
        logger.warning("The index %s is damaged (%s); it is made anew.", place, type(error).__name__)
    indexing = Indexing()
    try:
        for offset, example in records_of(path):
            indexing.add(offset, example)
    except KdetError:
        return None
    made = indexing.index(path)
    try:
        save(made, path)
    except WriteError as error:
        logger.warning("%s The file is read through at every start.", error)
    return made


def place_of(path: PathLike) -> pathlib.Path:
    """Where the index of a file lies."""
    path = pathlib.Path(path)
    return path.with_name(f".{path.name}.index")


class Indexing:
    """Makes the index of a file, example by example."""

    def __init__(self) -> None:
        self._classes: dict[int, str] = {}
        keys = ("offsets", "lengths", "source_id", "sizes", "masked")
        self._rows: dict[str, list[Any]] = {key: [] for key in keys}
        self._names: list[bytes] = []
        self._counts = [0]
        self._objects: list[tuple[int, list[float], bool]] = []

    def add(self, offset: int, example: bytes) -> None:
        """Takes the next example, whose bytes begin at ``offset``.

        Raises:
            DataError: it is not in order.
        """
        features = parsed(example)
        info, objects = annotations_of(features, False)
        check_names(self._classes, objects)
        self._classes.update({one["category_id"]: one["name"] for one in objects})
        key = f"{OBJECT}mask"
        masks = features[key].bytes_list.value if key in features else ()
        size = info["height"], info["width"]
        values = offset, len(example), info.get("id", -1), size, len(masks) == len(objects)
        for column, value in zip(self._rows.values(), values, strict=True):
            column.append(value)
        self._names.append(info["file_name"].encode("utf-8", "surrogatepass"))
        self._counts.append(len(objects))
        self._objects += [(one["category_id"], one["bbox"], bool(one["iscrowd"])) for one in objects]

    def index(self, path: PathLike) -> ShardIndex:
        """The index of ``path``, which is complete."""
        rows = self._rows
        offsets, lengths = (np.array(rows[key], np.int64) for key in ("offsets", "lengths"))
        category, boxes, crowd = zip(*self._objects, strict=True) if self._objects else ((), (), ())
        return ShardIndex(
            size=os.path.getsize(path),
            offsets=offsets,
            lengths=lengths,
            sums=_sums(path, offsets + lengths),
            source_id=np.array(rows["source_id"], np.int64),
            sizes=np.array(rows["sizes"], np.int64).reshape(-1, 2),
            names=Texts(*joined(self._names)),
            masked=np.array(rows["masked"], bool),
            splits=np.cumsum(self._counts),
            category=np.array(category, np.int64),
            boxes=np.array(boxes, np.float64).reshape(-1, 4),
            crowd=np.array(crowd, bool),
            classes=self._classes,
        )


def save(index: ShardIndex, path: PathLike) -> None:
    """Writes the index of a file beside it.

    Raises:
        WriteError: see :func:`kdet.writing.whole`.
    """
    arrays = {f.name: getattr(index, f.name) for f in dataclasses.fields(index)}
    names, classes = arrays.pop("names"), arrays.pop("classes")
    content = io.BytesIO()
    np.savez(
        content,
        version=VERSION,
        name_data=names.data,
        name_starts=names.starts,
        name_lengths=names.lengths,
        class_ids=np.array(list(classes), np.int64),
        class_names=np.frombuffer(json.dumps(list(classes.values())).encode(), np.uint8),
        **arrays,
    )
    with whole(place_of(path)) as part:
        part.write_bytes(content.getbuffer())


def _loaded(place: pathlib.Path) -> ShardIndex:
    with place.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if int(arrays["version"]) != VERSION:
            raise ValueError("another version")
        found = {f.name: arrays[f.name] for f in dataclasses.fields(ShardIndex) if f.name in arrays}
        texts = json.loads(arrays["class_names"].tobytes())
        found["names"] = Texts(*(arrays[f"name_{key}"] for key in ("data", "starts", "lengths")))
        found["classes"] = dict(zip(arrays["class_ids"].tolist(), texts, strict=True))
    found["size"] = int(found["size"])
    index = ShardIndex(**found)
    count, objects = len(index.offsets), int(index.splits[-1])
    columns = (index.lengths, index.sums, index.source_id, index.sizes, index.masked)
    if (
        {len(one) for one in columns} != {count}
        or len(index.names) != count
        or len(index.splits) != count + 1
    ):
        raise ValueError("columns of other lengths")
    if {len(one) for one in (index.category, index.boxes, index.crowd)} != {objects}:
        raise ValueError("columns of other lengths")
    return index


def _fits(index: ShardIndex, path: PathLike) -> bool:
    """Whether an index is of this file as it is now."""
    if os.path.getsize(path) != index.size:
        return False
    chosen = np.unique(np.linspace(0, max(len(index) - 1, 0), min(SAMPLES, len(index))).astype(int))
    offsets, lengths = index.offsets[chosen], index.lengths[chosen]
    return np.array_equal(_numbers(path, offsets - 12, "<Q"), lengths) and np.array_equal(
        _sums(path, offsets + lengths), index.sums[chosen]
    )


def _sums(path: PathLike, places: Array) -> Array:
    return np.array(_numbers(path, places, "<I"), np.uint32)


def _numbers(path: PathLike, places: Array, form: str) -> list[int]:
    """The numbers that stand in a file at some places."""
    size = struct.calcsize(form)
    with open(path, "rb") as file:
        found = []
        for place in places.tolist():
            file.seek(place)
            found.append(struct.unpack(form, file.read(size).ljust(size, b"\0"))[0])
    return found


class Places(Sequence[Any]):
    """``(path, offset, length)`` of the examples of several files."""

    def __init__(self, paths: Sequence[str], shards: Sequence[ShardIndex]) -> None:
        self._paths = list(paths)
        self._file = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
        self._offsets = np.concatenate([shard.offsets for shard in shards])
        self._lengths = np.concatenate([shard.lengths for shard in shards])

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, position: int) -> tuple[str, int, int]: ...
    @overload
    def __getitem__(self, position: slice) -> Chosen: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return Chosen(self, np.arange(len(self))[position])
        path = self._paths[int(self._file[position])]
        return path, int(self._offsets[position]), int(self._lengths[position])
