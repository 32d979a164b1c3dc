"""Proposal files: boxes computed before, that Fast R-CNN classifies."""

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet import pickles
from kdet.data import files
from kdet.data.records import Records
from kdet.errors import DataError, short
from kdet.typing import PathLike

MAX_BYTES = 2**34
FAR = 1e7  # no coordinate lies beyond it


def with_proposals(records: Records, path: PathLike, limit: int) -> Records:
    """The records with their boxes out of the file; see ``read_proposals``."""
    return records.with_columns(proposals=read_proposals(path, records.image_id.tolist(), limit))


def read_proposals(path: PathLike, image_ids: Sequence[int], limit: int) -> list[np.ndarray]:
    """The boxes of every image, best first, in pixels of the image on disk.

    Args:
        path: ``.pkl`` (the reference's: a list of ``[n, 4 or 5]`` arrays, one per image in the dataset's
            order), ``.npz`` (one array per image, named by its id) or ``.json`` (COCO results:
            ``image_id``, ``bbox`` xywh, ``score``).
        image_ids: of the dataset's images, in its order.
        limit: boxes per image to keep.

    Returns:
        list of float32 ``[<= limit, 4]`` xyxy, one per entry of ``image_ids``.

    Raises:
        MissingFile, DataError: there is no such file, it is damaged, of another dataset, or of no known kind.
    """
    readers = {".pkl": _read_pickle, ".npz": _read_npz, ".json": _read_json}
    reader = next((r for ending, r in readers.items() if str(path).endswith(ending)), None)
    if reader is None:
        raise DataError(f"data.proposals: {path} must end with one of {', '.join(readers)}.")
    found: Any = reader(path)
    if isinstance(found, list):
        if len(found) != len(image_ids):
            raise DataError(f"{path} has proposals of {len(found)} images; the dataset has {len(image_ids)}.")
    else:
        missing = [i for i in image_ids if i not in found]
        if missing:
            raise DataError(f"{path} has no proposals for {len(missing)} images, e.g. id {missing[0]}.")
        found = [found[i] for i in image_ids]
    return [_boxes(rows, limit, f"{path}: image {i}") for i, rows in zip(image_ids, found, strict=True)]


def _boxes(rows: Any, limit: int, where: str) -> np.ndarray:
    try:
        rows = np.asarray(rows)
        rows = rows.astype(np.float32) if rows.dtype.kind in "fiu" or rows.size == 0 else None
    except (ValueError, TypeError, OverflowError):
        rows = None
    if rows is None:
        raise DataError(f"{where}: proposals must be numbers, [n, 4] or [n, 5]; write the file anew.")
    if rows.size == 0:
        return np.zeros((0, 4), np.float32)
    if rows.ndim != 2 or rows.shape[1] not in (4, 5) or not np.isfinite(rows).all():
        raise DataError(f"{where}: proposals must be finite [n, 4] or [n, 5] arrays; got {rows.shape}.")
    if np.abs(rows[:, :4]).max() > FAR:
        raise DataError(f"{where}: a proposal has a coordinate of {np.abs(rows[:, :4]).max():g}.")
    if (rows[:, 2:4] < rows[:, :2]).any():
        wrong = rows[(rows[:, 2:4] < rows[:, :2]).any(axis=1)][0, :4]
        raise DataError(f"{where}: the proposal {wrong.tolist()} is no [x1, y1, x2, y2]: a side is negative.")
    if rows.shape[1] == 5:  # with scores
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return rows[:limit, :4]


def _read_pickle(path: PathLike) -> list[Any]:
    try:
        encoded = files.read_bytes(path, "proposal file", MAX_BYTES)
        content = pickles.load(encoded, pickles.ARRAY_NAMES, advice=": it must hold arrays only, not {}")
    except pickles.PickleError as error:
        raise DataError(f"The proposal file {path} cannot be read: {error}.") from error
    if not isinstance(content, list):
        raise DataError(f"{path} must hold a list with one array per image; got {short(content)}.")
    return [_plain_rows(item, path) for item in content]


def _plain_rows(item: Any, path: PathLike) -> Any:
    if isinstance(item, pickles.Array) and item.value is not None:
        return item.value
    if isinstance(item, (list, tuple)) and all(_is_row(row) for row in item):
        return [list(row) for row in item]
    raise DataError(f"{path} must hold one array per image; an entry is {short(type(item).__name__)}.")


def _is_row(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and all(type(value) in (int, float) for value in row)


def _read_npz(path: PathLike) -> dict[int, np.ndarray]:
    encoded = files.read_bytes(path, "proposal file", MAX_BYTES)
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(encoded)) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if not name.isdecimal() or len(name) > 18:
                    raise DataError(
                        f"{path}: the array {short(name)} must have the id of an image as its name."
                    )
                if int(name) in found:
                    raise DataError(f"{path} has two arrays for the image {int(name)}.")
                with archive.open(entry) as file:
                    found[int(name)] = _array(file, entry.file_size)
    except DataError:
        raise
    except Exception as error:  # what a damaged container makes of Python's zip reader is open
        raise DataError(f"The proposal file {path} is no .npz file or is damaged ({error}).") from error
    return found


def _array(file: Any, size: int) -> np.ndarray:
    """The array of an open ``.npy`` file; its header must fit its size."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read(file)
    wanted = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "fiu" or wanted > size:
        raise ValueError(f"an array of shape {shape} and type {dtype} does not fit")
    data = file.read(wanted)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _read_json(path: PathLike) -> "_Sparse":
    content = files.read_json(path, "proposal file")
    if not isinstance(content, list):
        raise DataError(f"{path} must hold a list of COCO results; got {short(content)}.")
    found: dict[int, list[list[float]]] = {}
    for number, entry in enumerate(content):
        box: Any = entry.get("bbox") if isinstance(entry, dict) else None
        good = _is_row(box) and len(box) == 4 and all(-FAR < v < FAR for v in box) and min(box[2:]) >= 0
        if not good or type(entry.get("image_id")) is not int or not _is_row([entry.get("score", 1.0)]):
            raise DataError(
                f"{path}: entry {number} must have image_id (a number), bbox [x, y, w, h] and score; "
                f"got {short(entry)}."
            )
        x, y, w, h = box
        found.setdefault(entry["image_id"], []).append([x, y, x + w, y + h, entry.get("score", 1.0)])
    return _Sparse(found)


class _Sparse(dict[int, Any]):
    """COCO results do not mention an image without boxes."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> list[Any]:
        return []
