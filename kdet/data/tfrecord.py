"""TFRecord files in Model Garden's TFExample layout: written from any index, and read back.

One example per image: ``image/encoded``, ``image/height``, ``image/width``, ``image/filename``,
``image/source_id`` (the image id), ``image/format``; per object ``image/object/bbox/{xmin,xmax,ymin,ymax}``
(divided by the image's size), ``image/object/class/label`` (category id), ``image/object/class/text``,
``image/object/area``, ``image/object/is_crowd`` (also difficult objects) and ``image/object/mask`` (PNG).

Shards are ``PREFIX-00000-of-00008.tfrecord``; ``PREFIX.json`` beside them holds the categories, and
``.PREFIX-00000-of-00008.tfrecord.index`` what a start needs of each (:mod:`kdet.data.tfrecord_index`).
"""

import glob
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import geometry, storage
from kdet.data import decoding, files, tfrecord_index
from kdet.data import masks as instance_masks
from kdet.data.classes import select_classes
from kdet.data.coco import make_record, records_of_table
from kdet.data.coco_builder import BOXED, CROWD
from kdet.data.coco_table import CocoTable
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.data.packed import Shapes, Texts, joined
from kdet.data.tfexample import (
    OBJECT,
    SIDES,
    annotations_of,
    byte_values,
    check_names,
    features_at,
    parsed,
    records_of,
)
from kdet.data.tfrecord_index import Indexing, Places, ShardIndex
from kdet.errors import DataError, MissingFile
from kdet.typing import Array, PathLike
from kdet.writing import whole


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
    from tqdm import tqdm  # import time is precious

    if not 1 <= shards <= len(index):
        raise DataError(f"{len(index)} images cannot be written as {shards} shards.")
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    _write_manifest(index, prefix, shards)
    paths = [f"{prefix}-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]
    edges = [i * len(index) // shards for i in range(shards + 1)]
    found = 0
    with tqdm(total=len(index), unit="image", disable=not progress) as bar:
        for path, first, last in zip(paths, edges[:-1], edges[1:], strict=True):
            if os.path.exists(path):
                found += 1
                bar.update(last - first)
                continue
            indexing, offset = Indexing(), 12  # behind the length of the first and its checksum
            with whole(path) as part, tf.io.TFRecordWriter(os.fspath(part)) as writer:
                for record in index.records[first:last]:
                    example = _example(index, record)
                    writer.write(example)
                    indexing.add(offset, example)
                    offset += 16 + len(example)
                    bar.update()
            tfrecord_index.save(indexing.index(path), path)
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
        annotations: path or glob pattern of the files; of URLs copies are made, for which the cache of
            ``kdet.storage`` must have room.
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
    if storage.is_url(annotations):
        paths = [str(storage.local(one)) for one in storage.matching(annotations)]
    else:
        paths = sorted(glob.glob(annotations)) if glob.has_magic(annotations) else [annotations]
    if not paths:
        raise MissingFile(f"No file matches {annotations} (data.annotations).")
    shards = _shards(paths, masks)
    if shards is not None:
        return _of_shards(annotations, paths, shards, classes, masks, crowds)
    skips = Skips()
    entries: list[Any] = []
    names: dict[int, str] = {}
    seen: dict[int, str] = {}
    faults = Faults(skips, on_corrupt)
    for path in paths:
        for offset, record in records_of(path):
            where = f"{path}: the example at byte {offset}"
            try:
                info, objects = annotations_of(parsed(record), masks)
                check_names(names, objects)
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


def _shards(paths: Sequence[str], masks: bool) -> list[ShardIndex] | None:
    """The indexes of the files; None where something is not in order, which reading them says."""
    found = []
    for path in paths:
        files.open_regular(path, "TFRecord file (data.annotations)").close()
        index = tfrecord_index.shard_index(path)
        if index is None or (masks and not index.masked.all()):
            return None
        found.append(index)
    names: dict[int, str] = {}
    for shard in found:
        if any(names.setdefault(number, name) != name for number, name in shard.classes.items()):
            return None
    ids = _image_ids(found)
    return found if len(np.unique(ids)) == len(ids) else None


def _image_ids(shards: Sequence[ShardIndex]) -> Array:
    given = np.concatenate([shard.source_id for shard in shards])
    return np.where(given < 0, np.arange(len(given)), given)


def _of_shards(
    annotations: str,
    paths: Sequence[str],
    shards: Sequence[ShardIndex],
    classes: Sequence[str] | None,
    masks: bool,
    crowds: str,
) -> DatasetIndex:
    """The index of files whose examples are all in order."""
    names = {number: name for shard in shards for number, name in shard.classes.items()}
    numbers = np.array(sorted(names), np.int64)
    names = _manifest_names(paths[0]) or dict(sorted(names.items()))
    class_names = select_classes(list(names.values()), classes, annotations)
    id_of = {name: i for i, name in names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}
    skips = Skips()
    table = _table(shards, numbers, masks)
    labels = np.array([label_of.get(number, -1) for number in numbers.tolist()], np.int32)
    images = np.arange(len(table.image_id))
    records, unusable, first = records_of_table(
        table, images, Places(paths, shards), labels, crowds == "ignore"
    )
    skips.update_in_order([unusable], first)
    return DatasetIndex(
        name=annotations,
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=records,
        skips=skips,
        has_masks=masks,
        read=_encoded_image,
        read_masks=_masks_of,
    )


def _table(shards: Sequence[ShardIndex], numbers: Array, masks: bool) -> CocoTable:
    counts = np.concatenate([np.diff(shard.splits) for shard in shards])
    splits = np.concatenate([[0], np.cumsum(counts)])
    category = np.concatenate([shard.category for shard in shards])
    crowd = np.concatenate([shard.crowd for shard in shards])
    within = np.arange(len(category)) - np.repeat(splits[:-1], counts)  # position of an object in its example
    encoded = [str(i).encode() for i in range(int(counts.max(initial=0)))]
    data, starts, lengths = joined(encoded)
    names = [name.encode("utf-8", "surrogatepass") for shard in shards for name in shard.names]
    return CocoTable(
        image_id=_image_ids(shards),
        sizes=np.concatenate([shard.sizes for shard in shards]),
        names=Texts(*joined(names)),
        categories=[],
        splits=splits,
        category=np.searchsorted(numbers, category).astype(np.int32),
        boxes=np.concatenate([shard.boxes for shard in shards]),
        areas=np.full(len(category), np.nan),
        flags=np.where(crowd, BOXED | CROWD, BOXED).astype(np.uint8),
        shapes=Shapes(data, starts[within], lengths[within]) if masks else None,
        notes=[],
        numbers=within,
        odd={},
    )


def _example(index: DatasetIndex, record: Record) -> bytes:
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
    areas = geometry.area(boxes)
    features = {
        "image/encoded": [encoded],
        "image/format": [kind.encode()],
        "image/height": [record.height],
        "image/width": [record.width],
        "image/filename": [record.name.encode()],
        "image/source_id": [str(record.image_id).encode()],
        **{f"{OBJECT}bbox/{side}": sides[:, i].tolist() for i, side in enumerate(SIDES)},
        f"{OBJECT}class/label": [index.category_ids[label] for label in labels],
        f"{OBJECT}class/text": [index.class_names[label].encode() for label in labels],
        f"{OBJECT}is_crowd": [0] * count + [1] * ignored,
    }
    if index.has_masks:
        segmentations = index.segmentations(record) + index.segmentations(record, ignored=True)
        rasters = [instance_masks.rasterize(s, record.height, record.width) for s in segmentations]
        areas = [float(raster.sum()) for raster in rasters]
        features[f"{OBJECT}mask"] = [tf.io.encode_png(raster[..., None]).numpy() for raster in rasters]
    features[f"{OBJECT}area"] = [float(area) for area in areas]
    # An empty list has no type: the key is left out.
    features = {key: _feature(values) for key, values in features.items() if values}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _feature(values: Sequence[Any]) -> Any:
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _encoded_image(record: Record) -> bytes:
    """The file of an image that stands in a TFRecord."""
    return byte_values(features_at(*record.source), "image/encoded")[0]


def _masks_of(record: Record, positions: list[Any]) -> list[Any]:
    found = byte_values(features_at(*record.source), f"{OBJECT}mask")
    return [found[position] for position in positions]


def _write_manifest(index: DatasetIndex, prefix: str, shards: int) -> None:
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


def _manifest_names(path: str) -> dict[int, str] | None:
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
