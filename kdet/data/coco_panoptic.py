"""Reader of COCO panoptic annotations: a JSON file of segments, a PNG of their numbers per image."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.data import decoding, files, masks
from kdet.data.classes import select_classes
from kdet.data.coco import make_record
from kdet.data.coco_file import CocoFile, without_collection
from kdet.data.folders import ImageFolder, find_or_report
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.errors import DataError, short
from kdet.typing import Array, PathLike

NO_CLASS = 255


@dataclasses.dataclass(frozen=True)
class PanopticSegments:
    """The segments of one image.

    Attributes:
        path: of the PNG, whose pixels hold the numbers ``R + 256 G + 65536 B``; 0 where no segment is.
        labels: ``{number: label}`` of the segments whose class is wanted.
        crowds: numbers of those that are crowds.
    """

    path: str
    labels: dict[int, int]
    crowds: frozenset[int] = frozenset()

    def numbers(self, height: int, width: int) -> Array:
        """Number of the segment of every pixel: int32 ``[height,width]``.

        Raises:
            DataError: the file is no PNG, or of another size.
        """
        found = _numbers(self.path)
        if found.shape != (height, width):
            raise DataError(
                f"The panoptic map {self.path} is {found.shape[0]}x{found.shape[1]} (h x w) but its image "
                f"{height}x{width}."
            )
        return found

    def classes(self, height: int, width: int) -> Array:
        """Class of every pixel: uint8 ``[height,width]``, 255 for none."""
        numbers, rows = np.unique(self.numbers(height, width), return_inverse=True)
        labels = np.array([self.labels.get(number, NO_CLASS) for number in numbers.tolist()], np.uint8)
        return labels[rows].reshape(height, width)


@functools.lru_cache(maxsize=4)  # masks and classes of an image ask for the same map
def _numbers(path: str) -> Array:
    encoded = files.read_bytes(path, "panoptic map")
    try:
        if decoding.kind_of(encoded) != "png":
            raise decoding.CorruptImage("is another kind of image")
        decoding.stored_size(encoded)
        with tf.device("CPU"):
            colors = tf.io.decode_png(encoded, channels=3).numpy().astype(np.int32)
    except decoding.CorruptImage as error:
        raise DataError(f"The panoptic map {path} is no readable PNG: it {error}.") from error
    except tf.errors.OpError as error:
        raise DataError(f"The panoptic map {path} is no readable PNG.") from error
    found = colors @ np.array([1, 256, 65536], np.int32)
    found.setflags(write=False)
    return found


def read_segments(record: Record, keys: Sequence[int]) -> list[Any]:
    """The masks of a record's segments by their numbers, as compressed run lengths."""
    if record.segments is None or not keys:
        return []
    numbers = record.segments.numbers(record.height, record.width)
    return [masks.encode_pixels(numbers == key) for key in keys]


class _PanopticFile(CocoFile):
    """The JSON file; its segments become annotations as of an instance file, ``segmentation`` a number."""

    def _categories(self, content: Any) -> dict[int, str]:
        names = super()._categories(content)
        for entry in content["categories"]:
            if entry.get("isthing") not in (0, 1):
                raise DataError(
                    f"{self.path}: the category {short(entry['name'])} has isthing "
                    f"{short(entry.get('isthing'))}; it must be 1 for things, 0 for stuff. Is this a file of "
                    "COCO's panoptic task?"
                )
        self.things = {int(entry["id"]) for entry in content["categories"] if entry["isthing"]}
        return names

    def _group(self, entries: list[Any]) -> dict[Any, list[Any]]:
        self.maps: dict[int, tuple[str, list[Any]]] = {}
        flat = []
        for entry in entries:
            image, name, segments = (entry.get(key) for key in ("image_id", "file_name", "segments_info"))
            if not isinstance(segments, list) or not isinstance(name, str):
                raise DataError(
                    f"{self.path}: the annotation of image id {short(image)} has no 'segments_info' or no "
                    "'file_name': this is no file of COCO's panoptic task. Use data.type: CocoReader for "
                    "instances."
                )
            for segment in segments:
                number = segment.get("id") if isinstance(segment, dict) else None
                if type(number) is not int or not 0 < number < 2**24:
                    raise DataError(
                        f"{self.path}: a segment of image id {short(image)} has the id {short(number)}; ids "
                        "are whole numbers from 1 to 16777215, the colors of the map."
                    )
                flat.append({**segment, "id": None, "image_id": image, "segmentation": number})
            self.maps[image] = name, segments
        return super()._group(flat)


@without_collection()
def read_coco_panoptic(
    annotations: PathLike,
    images: PathLike | None,
    *,
    segments: PathLike | None = None,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Reads the annotations of COCO's panoptic task.

    Things become objects, crowds among them ignore regions; the class maps that models of stuff learn from
    (``semantic``) come from the same PNGs.

    Args:
        annotations: path of the JSON file.
        images: folder that the images' ``file_name`` start from.
        segments: folder of the PNGs; default: beside the JSON file, called as it without its ending.
        classes: names to use, in label order, things before stuff; None takes all things, then all stuff, in
            the file's order.
        masks: keep the masks of the things.
        on_missing: "error" or "skip", for images and maps that are not on disk.
        on_corrupt: "error" or "skip", for entries with values of the wrong kind.
        allow_outside: file names may lead out of the folders.

    Returns:
        ``DatasetIndex`` with ``num_stuff``.

    Raises:
        MissingFile, DataError: naming the file, the entry, its value and what to do.
    """
    folder = ImageFolder(images, allow_outside=allow_outside)
    maps = ImageFolder(
        os.path.splitext(os.fspath(annotations))[0] if segments is None else segments,
        "data.segments",
        allow_outside=allow_outside,
    )
    skips = Skips()
    faults = Faults(skips, on_corrupt)
    content = _PanopticFile(annotations, faults)
    ordered = sorted(content.names, key=lambda number: number not in content.things)
    names = select_classes([content.names[number] for number in ordered], classes, annotations)
    id_of = {name: number for number, name in content.names.items()}
    is_thing = [id_of[name] in content.things for name in names]
    if is_thing != sorted(is_thing, reverse=True):
        first = names[is_thing.index(False)]
        raise DataError(
            f"{annotations}: data.classes must name all things before all stuff, but {first!r}, which is "
            "stuff, stands before a thing."
        )
    label_of = {id_of[name]: label for label, name in enumerate(names)}
    things = {number: label for number, label in label_of.items() if number in content.things}
    records = []
    for info in content.images:
        path = find_or_report(folder, info["file_name"], annotations, on_missing, faults)
        if path is None:
            continue
        if info["id"] not in content.maps:
            skips.add("image without segments", info["file_name"])
            continue
        name, found = content.maps[info["id"]]
        map_path = find_or_report(maps, name, annotations, on_missing, faults)
        if map_path is None:
            continue
        record = make_record(info, path, content.annotations[info["id"]], things, masks, skips)
        shown = PanopticSegments(
            map_path,
            {s["id"]: label_of[s["category_id"]] for s in found if s.get("category_id") in label_of},
            frozenset(s["id"] for s in found if s.get("iscrowd")),
        )
        records.append(dataclasses.replace(record, segments=shown, empty=not shown.labels))
    return DatasetIndex(
        name=str(annotations),
        class_names=names,
        category_ids=[id_of[name] for name in names],
        records=records,
        skips=skips,
        has_masks=masks,
        read_masks=read_segments,
        num_stuff=is_thing.count(False),
    )
