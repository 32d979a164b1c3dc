"""Proposal files: boxes computed before, that Fast R-CNN classifies."""

import json
import pickle

import numpy as np

# All that an array in a pickle needs. Anything else could run code and is refused.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
    ("builtins", "bytes"),
}


def attach_proposals(records, path, limit):
    """Gives every ``Record`` its boxes out of the file; see ``read_proposals``."""
    found = read_proposals(path, [record.image_id for record in records], limit)
    for record, boxes in zip(records, found, strict=True):
        record.proposals = boxes


def read_proposals(path, image_ids, limit):
    """The boxes of every picture, best first, in pixels of the picture on disk.

    Args:
        path: ``.pkl`` (the reference's: a list of ``[n, 4 or 5]`` arrays, one per picture in the dataset's
            order), ``.npz`` (one array per picture, named by its id) or ``.json`` (COCO results:
            ``image_id``, ``bbox`` xywh, ``score``).
        image_ids: of the dataset's pictures, in its order.
        limit: boxes per picture to keep.

    Returns:
        list of float32 ``[<= limit, 4]`` xyxy, one per entry of ``image_ids``.

    Raises:
        ValueError: the file is of another dataset, or of no known kind.
    """
    readers = {".pkl": _read_pickle, ".npz": _read_npz, ".json": _read_json}
    reader = next((r for ending, r in readers.items() if str(path).endswith(ending)), None)
    if reader is None:
        raise ValueError(f"data.proposals: {path} must end with one of {', '.join(readers)}.")
    found = reader(path)
    if isinstance(found, list):
        if len(found) != len(image_ids):
            raise ValueError(
                f"{path} has proposals of {len(found)} pictures; the dataset has {len(image_ids)}."
            )
    else:
        missing = [i for i in image_ids if i not in found]
        if missing:
            raise ValueError(f"{path} has no proposals for {len(missing)} pictures, e.g. id {missing[0]}.")
        found = [found[i] for i in image_ids]
    return [_boxes(rows, limit, path) for rows in found]


def _boxes(rows, limit, path):
    rows = np.asarray(rows, np.float32)
    if rows.size == 0:
        return np.zeros((0, 4), np.float32)
    if rows.ndim != 2 or rows.shape[1] not in (4, 5) or not np.isfinite(rows).all():
        raise ValueError(f"{path}: proposals must be finite [n, 4] or [n, 5] arrays; got {rows.shape}.")
    if rows.shape[1] == 5:  # with scores
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return rows[:limit, :4]


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise ValueError(f"a proposal file must hold arrays only, not {module}.{name}")
        return super().find_class(module, name)


def _read_pickle(path):
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except (ValueError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list with one array per picture; got {type(content).__name__}.")
    return content


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return {int(key): file[key] for key in file.files}


def _read_json(path):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    found = {}
    for entry in content:
        x, y, w, h = entry["bbox"]
        found.setdefault(entry["image_id"], []).append([x, y, x + w, y + h, entry.get("score", 1.0)])
    return _Sparse(found)


class _Sparse(dict):
    """COCO results do not mention a picture without boxes."""

    def __contains__(self, key):
        return True

    def __missing__(self, key):
        return []
