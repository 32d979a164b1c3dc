"""Examples of TFRecord files: found, parsed and checked."""

import math
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kdet.data import decoding, files
from kdet.errors import DataError, first_line, short
from kdet.typing import PathLike

OBJECT = "image/object/"
SIDES = ("xmin", "ymin", "xmax", "ymax")


def records_of(path: PathLike) -> Iterator[tuple[int, bytes]]:
    """``(offset of its bytes, bytes)`` of every record of a file, with their checksums held against them."""
    with files.open_regular(path, "TFRecord file (data.annotations)") as file:
        size = os.fstat(file.fileno()).st_size
    offset = 0
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            yield offset + 12, record  # behind the length and its checksum
            offset += 16 + len(record)
    except tf.errors.OpError as error:
        raise DataError(
            f"{path} is truncated, damaged or no TFRecord file (at byte {offset}: {first_line(error)}); "
            "write it anew."
        ) from error
    if offset != size:
        raise DataError(
            f"{path} is truncated or no TFRecord file (at byte {offset} of {size}); write it anew."
        )


def parsed(record: bytes) -> Any:
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's own error class differs between its back ends
        raise DataError(f"it is no TFExample ({short(str(error))})") from error


def features_at(path: PathLike, offset: int, length: int) -> Any:
    with files.open_regular(path, "TFRecord file") as file:
        file.seek(offset)
        record = file.read(length)
    try:
        return parsed(record)
    except DataError as error:
        raise DataError(f"{path}: the record at byte {offset}: {error}.") from error


def _values(features: Any, key: str, kind: type[Any]) -> list[Any]:
    """The values of one feature; ``kind`` is bytes, int or float, [] where it is absent or empty."""
    if key not in features:
        return []
    feature = features[key]
    name = feature.WhichOneof("kind")
    if name is None:
        return []
    expected = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[kind]
    if name != expected:
        raise DataError(f"{key} is a {name}, it must be a {expected}")
    lists = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
    return list(lists[kind].value)


def byte_values(features: Any, key: str) -> list[bytes]:
    return _values(features, key, bytes)


def _text(encoded: bytes, key: str) -> str:
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{key} holds {short(encoded)}, which is not UTF-8") from error


def _info(features: Any) -> dict[str, Any]:
    """Name, size and (where it says) id of the image of an example."""
    name = _text((byte_values(features, "image/filename") or [b"?"])[0], "image/filename")
    encoded = byte_values(features, "image/encoded")
    if not encoded or not encoded[0]:
        raise DataError(f"{short(name)} has no image/encoded")
    try:
        stored = decoding.size_of(encoded[0])
    except decoding.CorruptImage as error:
        raise DataError(f"the image {short(name)} {error}") from error
    info: dict[str, Any] = {"file_name": name}
    source_id = (byte_values(features, "image/source_id") or [b""])[0]
    if source_id.isdigit():
        info["id"] = int(source_id)
        if info["id"] >= 2**63:
            raise DataError(f"the image/source_id {short(source_id)} is too large")
    size = [(_values(features, f"image/{side}", int) or [None])[0] for side in ("height", "width")]
    size = list(stored) if None in size else size
    if min(size) <= 0 or sorted(size) != sorted(stored):
        raise DataError(
            f"the image {short(name)} is {stored[0]}x{stored[1]} (h x w), its image/height and image/width "
            f"say {size[0]}x{size[1]}"
        )
    info["height"], info["width"] = size
    return info


def annotations_of(features: Any, masks: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An example as COCO-like (image, annotations); a mask is kept as its position in the example."""
    info = _info(features)
    name = short(info["file_name"])
    labels = _values(features, f"{OBJECT}class/label", int)
    count = len(labels)
    lists: dict[str, Any] = {
        f"{OBJECT}class/text": [str(label).encode() for label in labels],
        f"{OBJECT}is_crowd": [0] * count,
    }
    for key, default in lists.items():
        lists[key] = _values(features, key, type(default[0]) if default else bytes) if count else []
        lists[key] = lists[key] or default
    sides = {side: _values(features, f"{OBJECT}bbox/{side}", float) for side in SIDES}
    lists.update({f"{OBJECT}bbox/{side}": values for side, values in sides.items()})
    if masks:
        lists[f"{OBJECT}mask"] = byte_values(features, f"{OBJECT}mask")
    for key, values in lists.items():
        if len(values) != count:
            hint = "; set data.masks: false" if key.endswith("mask") else ""
            what = "masks" if key.endswith("mask") else f"values in {key}"
            raise DataError(f"{name} has {count} objects but not as many {what} ({len(values)}){hint}")
    texts, crowds = list(lists.values())[:2]
    wrong = next((c for c in crowds if c not in (0, 1)), None)
    if wrong is not None:
        raise DataError(f"{OBJECT}is_crowd of {name} holds {wrong}, not 0 or 1")
    objects = []
    for i, label in enumerate(labels):
        if label < 0:
            raise DataError(f"{name} has the class/label {label}; labels are numbers from 0 on")
        corners = [sides[side][i] for side in SIDES]
        if not all(math.isfinite(v) and -100 < v < 100 for v in corners):
            raise DataError(f"{name} has the box {short(corners)}, which is not relative to its size")
        x1, x2 = (corners[k] * info["width"] for k in (0, 2))
        y1, y2 = (corners[k] * info["height"] for k in (1, 3))
        text = _text(texts[i], f"{OBJECT}class/text")
        entry = {"category_id": label, "name": text, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        objects.append({**entry, "id": i, "iscrowd": crowds[i], "segmentation": i if masks else None})
    return info, objects


def check_names(names: dict[int, str], objects: list[dict[str, Any]]) -> None:
    for found in objects:
        before = names.get(found["category_id"], found["name"])
        if before != found["name"]:
            raise DataError(
                f"class/label {found['category_id']} is called {found['name']!r}, elsewhere {before!r}"
            )
