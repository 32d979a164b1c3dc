"""TFRecord files in Model Garden's TFExample layout: written from any index, and read back.

One example per image: ``image/encoded``, ``image/height``, ``image/width``, ``image/filename``,
``image/source_id`` (the image id), ``image/format``; per object ``image/object/bbox/{xmin,xmax,ymin,ymax}``
(divided by the image's size), ``image/object/class/label`` (category id), ``image/object/class/text``,
``image/object/area``, ``image/object/is_crowd`` (also difficult objects) and ``image/object/mask`` (PNG).

Shards are ``PREFIX-00000-of-00008.tfrecord``; ``PREFIX.json`` beside them holds the categories.
"""

import glob
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from kdet.data import decoding, files
from kdet.data import masks as instance_masks
from kdet.data.classes import select_classes
from kdet.data.coco import make_record
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.errors import DataError, MissingFile, first_line, short
from kdet.typing import PathLike
from kdet.writing import whole

_OBJECT = "image/object/"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_tfrecords(
    index: DatasetIndex, prefix: str, shards: int = 1, progress: bool = True
) -> tuple[list[str], int]:
    """Writes an index as sharded TFRecord files.

    Can be interrupted: a shard appears under its name only when complete, and a second call with the same
    settings writes the missing ones.

    Args:
        index: ``DatasetIndex``; masks are written where it has them.
        prefix: path and beginning of the file names.
        shards: number of files.
        progress: show a progress bar.

    Returns:
        the paths, and how many of them were already there.

    Raises:
        DataError: files with other settings lie under the same prefix; more shards than images.
    """
    if not 1 <= shards <= len(index):
        raise DataError(f"{len(index)} images cannot be written as {shards} shards.")
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    _write_manifest(index, prefix, shards)
    paths = [f"{prefix}-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]
    edges = [i * len(index) // shards for i in range(shards + 1)]
    found = 0
    with tqdm.tqdm(total=len(index), unit="image", disable=not progress) as bar:
        for path, first, last in zip(paths, edges[:-1], edges[1:], strict=True):
            if os.path.exists(path):
                found += 1
                bar.update(last - first)
                continue
            with whole(path) as part, tf.io.TFRecordWriter(os.fspath(part)) as writer:
                for record in index.records[first:last]:
                    writer.write(_example(index, record).SerializeToString())
                    bar.update()
    return paths, found


def read_tfrecord(
    annotations: PathLike,
    images: PathLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    crowds: str = "ignore",
) -> DatasetIndex:
    """Reads TFRecord files; images stay in them and are fetched by position.

    Args:
        annotations: path or glob pattern of the files.
        images: not used: the images are in the files.
        classes: names to use, in label order. None takes those of ``PREFIX.json``, or without that file
            those that occur, by category id.
        masks: keep the instance masks.
        on_missing: not used.
        on_corrupt: "error" or "skip", for examples with wrong values. (Of a file with damaged bytes nothing
            is used, for what follows the damage cannot be told from it.)
        crowds: see ``read_coco``.

    Returns:
        ``DatasetIndex``.

    Raises:
        MissingFile, DataError: no such file; damaged bytes (every record carries a checksum); an example
            with values of another kind, without an image or masks; two images with one id.
    """
    annotations = os.fspath(annotations)
    paths = sorted(glob.glob(annotations)) if glob.has_magic(annotations) else [annotations]
    if not paths:
        raise MissingFile(f"No file matches {annotations} (data.annotations).")
    skips = Skips()
    entries: list[Any] = []
    names: dict[int, str] = {}
    seen: dict[int, str] = {}
    faults = Faults(skips, on_corrupt)
    for path in paths:
        for offset, record in _records(path):
            where = f"{path}: the example at byte {offset}"
            try:
                info, objects = _annotations(_parsed(record), masks)
                _check_names(names, objects)
            except DataError as error:
                faults.add("unusable example", where, str(error))
                continue
            info.setdefault("id", len(entries))
            if info["id"] in seen:
                raise DataError(
                    f"{where} has the image/source_id {info['id']}, which the one at {seen[info['id']]} has "
                    "too; number them anew."
                )
            seen[info["id"]] = f"byte {offset} of {path}"
            names.update({o["category_id"]: o["name"] for o in objects})
            entries.append(((path, offset, len(record)), info, objects))
    names = _manifest_names(paths[0]) or dict(sorted(names.items()))
    class_names = select_classes(list(names.values()), classes, annotations)
    id_of = {name: i for i, name in names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=[make_record(i, source, a, label_of, masks, skips, crowds) for source, i, a in entries],
        skips=skips,
        has_masks=masks,
        read=_encoded_image,
        read_masks=_masks_of,
    )


def _example(index, record):
    encoded = index.read(record)
    try:
        kind = decoding.kind_of(encoded)
        decoding.stored_size(encoded)
    except decoding.CorruptImage as error:
        raise DataError(f"The image {record.name} of {index.name} {error}. Repair or remove it.") from error
    count, ignored = len(record.labels), len(record.ignore_labels)
    labels = np.concatenate([record.labels, record.ignore_labels]).astype(int)
    boxes = np.concatenate([record.boxes, record.ignore_boxes]).astype(np.float64)
    sides = boxes / [record.width, record.height, record.width, record.height]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    features = {
        "image/encoded": [encoded],
        "image/format": [kind.encode()],
        "image/height": [record.height],
        "image/width": [record.width],
        "image/filename": [record.name.encode()],
        "image/source_id": [str(record.image_id).encode()],
        **{f"{_OBJECT}bbox/{side}": sides[:, i].tolist() for i, side in enumerate(_SIDES)},
        f"{_OBJECT}class/label": [index.category_ids[label] for label in labels],
        f"{_OBJECT}class/text": [index.class_names[label].encode() for label in labels],
        f"{_OBJECT}is_crowd": [0] * count + [1] * ignored,
    }
    if index.has_masks:
        segmentations = index.segmentations(record) + index.segmentations(record, ignored=True)
        rasters = [instance_masks.rasterize(s, record.height, record.width) for s in segmentations]
        areas = [float(raster.sum()) for raster in rasters]
        features[f"{_OBJECT}mask"] = [tf.io.encode_png(raster[..., None]).numpy() for raster in rasters]
    features[f"{_OBJECT}area"] = [float(area) for area in areas]
    # An empty list has no type: the key is left out.
    features = {key: _feature(values) for key, values in features.items() if values}
    return tf.train.Example(features=tf.train.Features(feature=features))


def _feature(values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _records(path):
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


def _parsed(record):
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's own error class differs between its back ends
        raise DataError(f"it is no TFExample ({short(str(error))})") from error


def _encoded_image(record: Record) -> bytes:
    """The file of an image that stands in a TFRecord."""
    return _bytes(_features(*record.source), "image/encoded")[0]


def _features(path, offset, length):
    with files.open_regular(path, "TFRecord file") as file:
        file.seek(offset)
        record = file.read(length)
    try:
        return _parsed(record)
    except DataError as error:
        raise DataError(f"{path}: the record at byte {offset}: {error}.") from error


def _values(features, key, kind):
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


def _bytes(features, key):
    return _values(features, key, bytes)


def _text(encoded, key):
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{key} holds {short(encoded)}, which is not UTF-8") from error


def _info(features):
    """Name, size and (where it says) id of the image of an example."""
    name = _text((_bytes(features, "image/filename") or [b"?"])[0], "image/filename")
    encoded = _bytes(features, "image/encoded")
    if not encoded or not encoded[0]:
        raise DataError(f"{short(name)} has no image/encoded")
    try:
        stored = decoding.size_of(encoded[0])
    except decoding.CorruptImage as error:
        raise DataError(f"the image {short(name)} {error}") from error
    info = {"file_name": name}
    source_id = (_bytes(features, "image/source_id") or [b""])[0]
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


def _annotations(features, masks):
    """An example as COCO-like (image, annotations); a mask is kept as its position in the example."""
    info = _info(features)
    name = short(info["file_name"])
    labels = _values(features, f"{_OBJECT}class/label", int)
    count = len(labels)
    lists: dict[str, Any] = {
        f"{_OBJECT}class/text": [str(label).encode() for label in labels],
        f"{_OBJECT}is_crowd": [0] * count,
    }
    for key, default in lists.items():
        lists[key] = _values(features, key, type(default[0]) if default else bytes) if count else []
        lists[key] = lists[key] or default
    sides = {side: _values(features, f"{_OBJECT}bbox/{side}", float) for side in _SIDES}
    lists.update({f"{_OBJECT}bbox/{side}": values for side, values in sides.items()})
    if masks:
        lists[f"{_OBJECT}mask"] = _bytes(features, f"{_OBJECT}mask")
    for key, values in lists.items():
        if len(values) != count:
            hint = "; set data.masks: false" if key.endswith("mask") else ""
            what = "masks" if key.endswith("mask") else f"values in {key}"
            raise DataError(f"{name} has {count} objects but not as many {what} ({len(values)}){hint}")
    texts, crowds = list(lists.values())[:2]
    wrong = next((c for c in crowds if c not in (0, 1)), None)
    if wrong is not None:
        raise DataError(f"{_OBJECT}is_crowd of {name} holds {wrong}, not 0 or 1")
    objects = []
    for i, label in enumerate(labels):
        if label < 0:
            raise DataError(f"{name} has the class/label {label}; labels are numbers from 0 on")
        corners = [sides[side][i] for side in _SIDES]
        if not all(math.isfinite(v) and -100 < v < 100 for v in corners):
            raise DataError(f"{name} has the box {short(corners)}, which is not relative to its size")
        x1, x2 = (corners[k] * info["width"] for k in (0, 2))
        y1, y2 = (corners[k] * info["height"] for k in (1, 3))
        text = _text(texts[i], f"{_OBJECT}class/text")
        entry = {"category_id": label, "name": text, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        objects.append({**entry, "id": i, "iscrowd": crowds[i], "segmentation": i if masks else None})
    return info, objects


def _check_names(names, objects):
    for found in objects:
        before = names.get(found["category_id"], found["name"])
        if before != found["name"]:
            raise DataError(
                f"class/label {found['category_id']} is called {found['name']!r}, elsewhere {before!r}"
            )


def _masks_of(record, positions):
    found = _bytes(_features(*record.source), f"{_OBJECT}mask")
    return [found[position] for position in positions]


def _write_manifest(index, prefix, shards):
    categories = zip(index.category_ids, index.class_names, strict=True)
    manifest = {
        "source": index.name,
        "images": len(index),
        "shards": shards,
        "masks": index.has_masks,
        "categories": [{"id": i, "name": name} for i, name in categories],
    }
    path = f"{prefix}.json"
    if os.path.exists(path) and files.read_json(path, "manifest") != json.loads(json.dumps(manifest)):
        raise DataError(f"{path} belongs to files with other settings: choose another prefix or remove them.")
    with whole(path) as part:
        part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _manifest_names(path):
    """{category id: name} of the manifest beside a shard, or None."""
    manifest = path.rsplit("-", 3)[0] + ".json"
    if not os.path.exists(manifest):
        return None
    content = files.read_json(manifest, "manifest")
    categories: Any = content.get("categories") if isinstance(content, dict) else None
    good = isinstance(categories, list) and all(
        isinstance(c, dict) and type(c.get("id")) is int and isinstance(c.get("name"), str)
        for c in categories
    )
    if not good or len({c["name"] for c in categories}) < len(categories):
        raise DataError(f"The manifest {manifest} has no list of categories with id and name; write it anew.")
    return {c["id"]: c["name"] for c in categories}
