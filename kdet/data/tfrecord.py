"""TFRecord files in Model Garden's TFExample layout: written from any index, and read back.

One example per picture: ``image/encoded``, ``image/height``, ``image/width``, ``image/filename``,
``image/source_id`` (the picture id), ``image/format``; per object ``image/object/bbox/{xmin,xmax,ymin,ymax}``
(divided by the picture's size), ``image/object/class/label`` (category id), ``image/object/class/text``,
``image/object/area``, ``image/object/is_crowd`` (also difficult objects) and ``image/object/mask`` (PNG).

Shards are ``PREFIX-00000-of-00008.tfrecord``; ``PREFIX.json`` beside them holds the categories.
"""

import glob
import json
import os
import struct

import numpy as np
import tensorflow as tf
import tqdm

from kdet.data import masks as instance_masks
from kdet.data import pictures
from kdet.data.coco import make_record
from kdet.data.index import DatasetIndex, Skips, select_classes

_OBJECT = "image/object/"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_tfrecords(index, prefix, shards=1, progress=True):
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
        ValueError: files with other settings lie under the same prefix; more shards than pictures.
    """
    if not 1 <= shards <= len(index):
        raise ValueError(f"{len(index)} pictures cannot be written as {shards} shards.")
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    _write_manifest(index, prefix, shards)
    paths = [f"{prefix}-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]
    edges = [i * len(index) // shards for i in range(shards + 1)]
    found = 0
    with tqdm.tqdm(total=len(index), unit="picture", disable=not progress) as bar:
        for path, first, last in zip(paths, edges[:-1], edges[1:], strict=True):
            if os.path.exists(path):
                found += 1
                bar.update(last - first)
                continue
            with tf.io.TFRecordWriter(path + ".part") as writer:
                for record in index.records[first:last]:
                    writer.write(_example(index, record).SerializeToString())
                    bar.update()
            os.replace(path + ".part", path)
    return paths, found


def read_tfrecord(annotations, images=None, *, classes=None, masks=False, on_missing="error"):
    """Reads TFRecord files; pictures stay in them and are fetched by position.

    Args:
        annotations: path or glob pattern of the files.
        images: not used: the pictures are in the files.
        classes: names to use, in label order. None takes those of ``PREFIX.json``, or without that file
            those that occur, by category id.
        masks: keep the instance masks.
        on_missing: not used.

    Returns:
        ``DatasetIndex``.

    Raises:
        FileNotFoundError, ValueError: no such file; a broken record; objects without class names or masks.
    """
    paths = sorted(glob.glob(annotations)) if glob.has_magic(annotations) else [annotations]
    if not paths:
        raise FileNotFoundError(f"No file matches {annotations} (data.annotations).")
    skips, entries, names = Skips(), [], {}
    for path in paths:
        for offset, length in _positions(path):
            features = _features(path, offset, length)
            info, objects = _annotations(features, path, masks)
            info.setdefault("id", len(entries))
            names.update({o["category_id"]: o["name"] for o in objects})
            entries.append(((path, offset, length), info, objects))
    names = _manifest_names(paths[0]) or dict(sorted(names.items()))
    class_names = select_classes(list(names.values()), classes, annotations)
    id_of = {name: i for i, name in names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=[make_record(info, source, a, label_of, masks, skips) for source, info, a in entries],
        skips=skips,
        has_masks=masks,
        read=lambda record: _bytes(_features(*record.source), "image/encoded")[0],
        read_masks=_masks_of,
    )


def _example(index, record):
    encoded = index.read(record)
    count, ignored = len(record.labels), len(record.ignore_labels)
    labels = np.concatenate([record.labels, record.ignore_labels]).astype(int)
    boxes = np.concatenate([record.boxes, record.ignore_boxes]).astype(np.float64)
    sides = boxes / [record.width, record.height, record.width, record.height]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    features = {
        "image/encoded": [encoded],
        "image/format": [b"jpeg" if encoded[:2] == b"\xff\xd8" else b"png"],
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
        rasters = [instance_masks.rasterise(s, record.height, record.width) for s in segmentations]
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


def _positions(path):
    """(offset, length) of every record of a file, from the length fields alone."""
    with open(path, "rb") as file:
        size, offset = os.fstat(file.fileno()).st_size, 0
        while offset < size:
            file.seek(offset)
            header = file.read(8)
            (length,) = struct.unpack("<Q", header) if len(header) == 8 else (size,)
            if offset + 16 + length > size:
                raise ValueError(f"{path} is truncated or no TFRecord file (at byte {offset}).")
            yield offset + 12, length  # behind the length and its checksum
            offset += 16 + length


def _features(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        try:
            return tf.train.Example.FromString(file.read(length)).features.feature
        except Exception as error:  # protobuf's own error class differs between its back ends
            raise ValueError(f"{path}: the record at byte {offset} is no TFExample: {error}") from error


def _bytes(features, key):
    return features[key].bytes_list.value if key in features else []


def _annotations(features, path, masks):
    """An example as COCO-like (picture, annotations); a mask is kept as its position in the example."""
    name = (_bytes(features, "image/filename") or [b"?"])[0].decode()
    if not _bytes(features, "image/encoded"):
        raise ValueError(f"{path}: the example of {name} has no image/encoded.")
    info = {"file_name": name}
    source_id = (_bytes(features, "image/source_id") or [b""])[0]
    if source_id.isdigit():
        info["id"] = int(source_id)
    size = [features[f"image/{k}"].int64_list.value for k in ("height", "width") if f"image/{k}" in features]
    if len(size) < 2:
        size = [[side] for side in pictures.size_of(_bytes(features, "image/encoded")[0])]
    info["height"], info["width"] = (int(side[0]) for side in size)
    labels = features[f"{_OBJECT}class/label"].int64_list.value if f"{_OBJECT}class/label" in features else []
    texts = _bytes(features, f"{_OBJECT}class/text") or [str(label).encode() for label in labels]
    crowds = features[f"{_OBJECT}is_crowd"].int64_list.value if f"{_OBJECT}is_crowd" in features else []
    crowds = crowds or [0] * len(labels)
    sides = [features[f"{_OBJECT}bbox/{side}"].float_list.value for side in _SIDES] if len(labels) else []
    if masks and len(_bytes(features, f"{_OBJECT}mask")) != len(labels):
        raise ValueError(
            f"{path}: {name} has {len(labels)} objects but not as many masks; set data.masks: false."
        )
    objects = []
    for i, label in enumerate(labels):
        x1, x2 = (sides[k][i] * info["width"] for k in (0, 2))
        y1, y2 = (sides[k][i] * info["height"] for k in (1, 3))
        entry = {"category_id": label, "name": texts[i].decode(), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        objects.append({**entry, "id": i, "iscrowd": crowds[i], "segmentation": i if masks else None})
    return info, objects


def _masks_of(record, positions):
    found = _bytes(_features(*record.source), f"{_OBJECT}mask")
    return [found[position] for position in positions]


def _write_manifest(index, prefix, shards):
    categories = zip(index.category_ids, index.class_names, strict=True)
    manifest = {
        "source": index.name,
        "pictures": len(index),
        "shards": shards,
        "masks": index.has_masks,
        "categories": [{"id": i, "name": name} for i, name in categories],
    }
    path = f"{prefix}.json"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if json.load(file) != manifest:
                raise ValueError(
                    f"{path} belongs to files with other settings: choose another prefix or remove them."
                )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)


def _manifest_names(path):
    """{category id: name} of the manifest beside a shard, or None."""
    manifest = path.rsplit("-", 3)[0] + ".json"
    if not os.path.exists(manifest):
        return None
    with open(manifest, encoding="utf-8") as file:
        return {c["id"]: c["name"] for c in json.load(file)["categories"]}
