"""Reader of Cityscapes' own annotations: ``gtFine/<split>/<city>/*_instanceIds.png`` or ``*_polygons.json``.

Cordts et al., 2016, "The Cityscapes Dataset for Semantic Urban Scene Understanding". The value of a pixel of
an instance map is the label id of its class, or 1000 times that id plus a number for a single object of a
class that has instances. The pixels of a group of objects that nobody could tell apart have the label id.
"""

import concurrent.futures
import dataclasses
import difflib
import io
import os
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from kdet.data import coco, decoding, files
from kdet.data.classes import select_classes
from kdet.data.folders import ImageFolder, find_or_report
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.errors import DataError, MissingFile, first_line, short

# fmt: off
CLASSES = {  # with instances, and evaluated
    "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}
OTHERS = {"caravan": 29, "trailer": 30}  # with instances, not evaluated
VOID = {  # regions that are not evaluated
    "unlabeled": 0, "ego vehicle": 1, "rectification border": 2, "out of roi": 3, "static": 4, "dynamic": 5,
    "ground": 6, "parking": 9, "rail track": 10, "guard rail": 14, "bridge": 15, "tunnel": 16,
    "polegroup": 18, "license plate": -1, **OTHERS,
}
STUFF = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
}
# fmt: on
LABELS = {**STUFF, **VOID, **CLASSES}
PER_CLASS = 1000  # instance id = PER_CLASS * label id + number
LARGEST = 0xFFFF  # value of a pixel
FAR = 1e6  # no coordinate is beyond
MAX_SIDE = 1 << 15
MAPS, POLYGONS = "_instanceIds.png", "_polygons.json"


def read_cityscapes(
    annotations: str,
    images: str,
    *,
    classes: list[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
) -> DatasetIndex:
    """Read one split of Cityscapes.

    Boxes and masks are those of the pixels in the instance map: of an object behind another only what is
    seen. Groups become ignore regions. Where an image has no ``_instanceIds.png``, the map is drawn from its
    ``_polygons.json``.

    Args:
        annotations: folder of the split, ``gtFine/train``, with a folder per city.
        images: folder of the split's images, ``leftImg8bit/train``.
        classes: names to use, in label order; None takes the eight evaluated ones.
        masks: deliver the masks.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for annotation files that cannot be read.

    Returns:
        ``DatasetIndex`` with ``instance_map`` and Cityscapes' label ids as ``category_ids``; image ids count
        from 0 in the order of the file names.

    Raises:
        MissingFile, DataError: naming the file and what to do.
    """
    class_names = select_classes(CLASSES, classes, annotations)
    label_of = {CLASSES[name]: label for label, name in enumerate(class_names)}
    skips, folder, listed = Skips(), ImageFolder(images), []
    faults = Faults(skips, on_corrupt)
    for source in _files(annotations):
        name = _image_name(source, annotations)
        path = find_or_report(folder, name, annotations, on_missing, faults)
        if path is not None:
            listed.append((source, name, path))
    with concurrent.futures.ThreadPoolExecutor() as pool:  # reading is decoding PNG, which threads can do
        found = list(pool.map(_objects, (source for source, _, _ in listed)))
    records: list[Record] = []
    sources = {}
    for (source, name, path), read in zip(listed, found, strict=True):
        if isinstance(read, DataError):
            faults.add("unusable annotation file", str(annotations), str(read).rstrip("."))
            continue
        (height, width), objects = read
        info = {"id": len(records), "file_name": name, "height": height, "width": width}
        sources[len(records)] = source
        record = coco.make_record(info, path, objects, label_of, masks, skips)
        records.append(dataclasses.replace(record, empty=not len(record.labels)))
    maps = InstanceMaps(sources)
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[CLASSES[name] for name in class_names],
        records=records,
        skips=skips,
        has_masks=masks,
        read_masks=maps.segmentations,
        instance_maps=maps,
    )


class InstanceMaps:
    """The instance maps of a dataset, read when they are asked for.

    Args:
        sources: path of the map or of the polygons, by image id.
    """

    def __init__(self, sources: dict[int, str]) -> None:
        self._sources = sources

    def __call__(self, image_id: int) -> np.ndarray:
        """The instance map ``[h, w]`` int32 of an image."""
        return read_instance_map(self._sources[image_id])

    def segmentations(self, record: Record, instance_ids: list[int]) -> list[dict[str, Any]]:
        """The masks of some instances of a record, as compressed RLE."""
        if not len(instance_ids):
            return []
        found = self(record.image_id)
        return [_rle(found == instance_id) for instance_id in instance_ids]

    def annotations(self, image_ids: list[int], category_ids: list[int]) -> list[dict[str, Any]]:
        """COCO annotations of all objects (groups are ``iscrowd``) of some images and categories."""
        annotations: list[dict[str, Any]] = []
        for image_id in image_ids:
            found = self(image_id)
            for annotation in instances(found):
                if annotation["category_id"] in category_ids:
                    rle = _rle(found == annotation["segmentation"])
                    annotation.update(id=len(annotations) + 1, image_id=image_id, segmentation=rle)
                    annotations.append(annotation)
        return annotations


def read_instance_map(path: str) -> np.ndarray:
    """The instance map ``[h, w]`` int32 of a ``_instanceIds.png``, or drawn from a ``_polygons.json``.

    Raises:
        MissingFile, DataError: the file is gone, damaged or of another kind; the message names it.
    """
    if path.endswith(POLYGONS):
        return draw_polygons(path)
    encoded = files.read_bytes(path, "instance map")
    try:
        if decoding.kind_of(encoded) != "png":
            raise DataError("it is of another kind")
        decoding.stored_size(encoded)
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            found = np.asarray(image)
    except (DataError, OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"The instance map {path} is no readable PNG: {first_line(error)}.") from error
    if found.ndim != 2 or found.dtype.kind not in "iu" or found.min() < 0 or found.max() > LARGEST:
        raise DataError(f"The instance map {path} must have one channel of whole numbers of 16 bits.")
    return found.astype(np.int32)


def draw_polygons(path: str) -> np.ndarray:
    """The instance map ``[h, w]`` int32 of a ``_polygons.json``, later polygons over earlier ones.

    Raises:
        MissingFile, DataError: naming the file, the object and what is wrong with it.
    """
    content = files.read_json(path, "Cityscapes annotation")
    try:
        width, height, entries = content["imgWidth"], content["imgHeight"], content["objects"]
        objects = [(o["label"], o["polygon"], o.get("deleted")) for o in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no Cityscapes annotation (imgHeight, imgWidth, objects with label and polygon): "
            f"{short(content)}."
        ) from error
    sides = type(width) is int and type(height) is int and 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE
    if not sides or width * height > decoding.max_pixels():
        raise DataError(
            f"{path}: imgWidth x imgHeight is {short(width)} x {short(height)}; sides must be 1..{MAX_SIDE}, "
            f"and {decoding.max_pixels()} pixels at most."
        )
    image = Image.new("I", (width, height), 0)
    drawer = ImageDraw.Draw(image)
    counts: dict[str, int] = {}
    for number, (label, polygon, deleted) in enumerate(objects):
        if deleted:
            continue
        where = f"{path}, object {number}"
        value = _value(label, counts, where)
        if value < 0:
            continue
        if not isinstance(polygon, list) or len(polygon) < 2 or not all(map(_is_point, polygon)):
            raise DataError(f"{where} ({label}): its polygon must be points [x, y].")
        drawer.polygon([(x, y) for x, y in polygon], fill=value)
    return np.array(image, np.int32)


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(_is_coordinate(v) for v in point)


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= FAR


def _value(label: Any, counts: dict[str, int], where: str) -> int:
    """What the pixels of a polygon get; ``counts`` are the single objects so far, by label."""
    if not isinstance(label, str):
        raise DataError(f"{where}: its label is {short(label)}, not a text.")
    single = label in CLASSES or label in OTHERS
    if label not in LABELS and label.endswith("group"):
        label = label[: -len("group")]
    if label not in LABELS:
        near = difflib.get_close_matches(label, LABELS, n=1)
        raise DataError(f"{where}: unknown label {short(label)}{f'; nearest: {near[0]!r}' if near else ''}.")
    if not single:
        return LABELS[label]
    counts[label] = counts.get(label, -1) + 1
    if counts[label] == PER_CLASS:
        raise DataError(f"{where}: more than {PER_CLASS} single objects {label!r} in one image.")
    return PER_CLASS * LABELS[label] + counts[label]


def instances(instance_map: np.ndarray) -> list[dict[str, Any]]:
    """The objects and groups of the evaluated classes in a map ``[h, w]``, by rising instance id.

    Each is a COCO annotation with the instance id as ``segmentation``; ``area`` is in pixels.
    """
    from scipy import ndimage  # import time is precious

    pixels = np.bincount(instance_map.ravel(), minlength=LARGEST + 1)
    ids = np.flatnonzero(pixels)
    label_ids = np.where(ids < PER_CLASS, ids, ids // PER_CLASS)
    wanted = np.isin(label_ids, list(CLASSES.values()))
    ids, label_ids = ids[wanted], label_ids[wanted]
    places = np.zeros(LARGEST + 1, np.int32)
    places[ids] = np.arange(1, len(ids) + 1)
    slices = ndimage.find_objects(places[instance_map], len(ids))
    found = []
    for instance_id, area, label_id, (rows, columns) in zip(ids, pixels[ids], label_ids, slices, strict=True):
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        found.append(
            {
                "bbox": [float(v) for v in box],
                "area": float(area),
                "iscrowd": int(instance_id < PER_CLASS),
                "category_id": int(label_id),
                "segmentation": int(instance_id),
            }
        )
    return found


def _objects(source: str) -> tuple[tuple[int, int], list[dict[str, Any]]] | DataError:
    """``((h, w), objects)`` of one annotation file, or why it cannot be used."""
    try:
        found = read_instance_map(source)
    except MissingFile:
        raise
    except DataError as error:
        return error
    height, width = found.shape
    return (height, width), instances(found)


def _rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _files(folder: str) -> list[str]:
    """One annotation file per image below a folder, by name; maps before polygons."""
    if not os.path.isdir(folder):
        raise MissingFile(
            f"data.annotations must be a folder of Cityscapes such as gtFine/val; {folder} is none."
        )
    chosen = {}
    for ending in (POLYGONS, MAPS):
        for root, _, names in os.walk(folder):
            for name in names:
                if name.endswith(ending):
                    chosen[os.path.join(root, name.removesuffix(ending))] = os.path.join(root, name)
    if not chosen:
        raise DataError(f"{folder} holds no file that ends in {MAPS} or {POLYGONS} (data.annotations).")
    return [chosen[stem] for stem in sorted(chosen)]


def _image_name(source: str, folder: str) -> str:
    """Name of the image of an annotation file: ``<city>/<city>_<sequence>_<frame>_leftImg8bit.png``."""
    stem = os.path.relpath(source, folder)
    for ending in (MAPS, POLYGONS):
        stem = stem.removesuffix(ending)
    return stem.rsplit("_", 1)[0] + "_leftImg8bit.png"
