"""Columns of a data set in files that are mapped: read once, shared by all processes of a machine.

A store is a folder of the cache (``KDET_HOME``, by default ``~/.cache/kdet``), ``indexes/CONTENT-KIND``:
one ``.npy`` file per column, and ``facts.json``, which says what they are. Its name is a hash of the file
that the columns come from; which file has which hash is remembered by size and times, so that a file is
read through again only after it was touched. Everything in ``indexes`` may be removed at any time.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdet.errors import WriteError, first_line
from kdet.typing import Array, PathLike
from kdet.writing import cache_folder, whole, writing

try:
    import fcntl
except ImportError:  # Windows: two processes may build the same store, of which one is kept
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("kdet.data")

VERSION = 2
SMALLEST = 2**23  # bytes; what is smaller is read as fast as a store is found
_CHECKED = 2**26  # bytes of a column up to which its content is checked at every start
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Columns:
    """Named arrays and what else there is to say.

    Attributes:
        arrays: by name.
        facts: as JSON can hold them.
        where: the folder, empty where the arrays are in memory.
    """

    arrays: dict[str, Array]
    facts: dict[str, Any]
    where: str = ""


class Sink:
    """A column of bytes that grows: in a file, or in memory.

    Args:
        path: of the file; None: in memory.
    """

    def __init__(self, path: pathlib.Path | None = None) -> None:
        self.size = 0
        self._file = None if path is None else path.open("wb")
        self._bytes = bytearray()

    def write(self, data: bytes) -> None:
        """Adds bytes."""
        if self._file is None:
            self._bytes += data
        else:
            self._file.write(data)
        self.size += len(data)

    def close(self) -> Array:
        """uint8 ``[bytes]``: what was written."""
        if self._file is None:
            return np.frombuffer(self._bytes, np.uint8)
        self._file.close()
        return _mapped(pathlib.Path(self._file.name))


def columns_of(path: PathLike, kind: str, build: Callable[[Callable[[str], Sink]], Columns]) -> Columns:
    """The columns that are built from a file: from their store, or built, and kept there.

    Args:
        path: of the file.
        kind: which columns; a part of the name of the store.
        build: builds them; called with a function that opens a :class:`Sink` by the name of its column.

    A store that is damaged is built anew, with a warning. Where none can be written the columns are built
    in memory, with a warning too.
    """
    if os.path.getsize(path) < SMALLEST:
        return build(lambda _: Sink())
    root = cache_folder() / "indexes"
    try:
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
        with _alone(root, path):
            store = root / f"{_digest(root, path)}-{kind}-{VERSION}"
            found = _opened(store)
            return found if found is not None else _built(store, path, build)
    except WriteError as error:
        logger.warning("%s The index of %s is made in memory, and again at the next start.", error, path)
        return build(lambda _: Sink())


def _built(store: pathlib.Path, path: PathLike, build: Callable[[Callable[[str], Sink]], Columns]) -> Columns:
    logger.info("Indexing %s; later starts take the index from %s.", path, store)
    part = store.with_name(f".part.{uuid.uuid4().hex}")
    before = _stat(path)
    try:
        with writing(store):
            part.mkdir()
            columns = build(lambda name: Sink(part / f"{name}.bytes"))
            described = {name: _saved(part, name, array) for name, array in columns.arrays.items()}
            content = {"columns": described, "facts": columns.facts}
            (part / "facts.json").write_text(json.dumps(content), encoding="utf-8")
            if _stat(path) != before:  # it is being written: this is of use now, but not later
                return build(lambda _: Sink())
            shutil.rmtree(store, ignore_errors=True)
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.replace(part, store)
        found = _opened(store)
        return found if found is not None else build(lambda _: Sink())
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _saved(folder: pathlib.Path, name: str, array: Array) -> dict[str, Any]:
    """Writes a column and says what it is."""
    path = folder / f"{name}.bytes"
    if not path.exists():
        np.ascontiguousarray(array).tofile(path)
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "sum": _sum(array) if array.nbytes <= _CHECKED else None,
    }


def _opened(store: pathlib.Path) -> Columns | None:
    """The columns of a store; None where there is none, or a damaged one, which is said."""
    if not store.exists():
        return None
    try:
        content = json.loads((store / "facts.json").read_text(encoding="utf-8"))
        arrays = {name: _read(store / f"{name}.bytes", form) for name, form in content["columns"].items()}
        return Columns(arrays, content["facts"], str(store))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("The index %s is damaged (%s); it is made anew.", store, first_line(error))
        return None


def _read(path: pathlib.Path, form: dict[str, Any]) -> Array:
    array = _mapped(path).view(np.dtype(form["dtype"])).reshape(form["shape"])
    if form["sum"] is not None and _sum(array) != form["sum"]:
        raise ValueError(f"{path.name} does not hold what was written")
    return array


def _sum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _mapped(path: pathlib.Path) -> Array:
    """The bytes of a file; what is written into them stays in the memory of this process."""
    if not path.stat().st_size:
        return np.zeros(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "c"))


def _digest(root: pathlib.Path, path: PathLike) -> str:
    """The hash of a file's content, remembered by its size and times; frees the store of what it held."""
    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()
    note = root / f"{name[:24]}.file"
    stat = _stat(path)
    before: Any = None
    with contextlib.suppress(OSError, ValueError):
        before = json.loads(note.read_text(encoding="utf-8"))
    if isinstance(before, dict) and before.get("stat") == stat and isinstance(before.get("hash"), str):
        return str(before["hash"])
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    digest = found.hexdigest()
    with whole(note) as part:
        part.write_text(json.dumps({"stat": stat, "hash": digest}), encoding="utf-8")
    if isinstance(before, dict) and isinstance(before.get("hash"), str) and before["hash"] != digest:
        logger.info("%s has changed: it is indexed anew.", path)
        _forget(root, before["hash"])
    return digest


def _forget(root: pathlib.Path, digest: str) -> None:
    """Removes the stores of a content that no file has any more."""
    for note in root.glob("*.file"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(note.read_text(encoding="utf-8"))["hash"] == digest:
                return
    if len(digest) == 32 and digest.isalnum():
        for store in root.glob(f"{digest}-*"):
            shutil.rmtree(store, ignore_errors=True)


def _stat(path: PathLike) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


@contextlib.contextmanager
def _alone(root: pathlib.Path, path: PathLike) -> Iterator[None]:
    """Only one process of a machine works on a file at a time; the others wait and take what it made."""
    if fcntl is None:
        yield
        return
    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()
    with writing(root):
        handle = os.open(root / f"{name[:24]}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
