"""Reader of COCO JSON annotations (boxes, polygons, RLE, crowds)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdet.data.classes import select_classes
from kdet.data.coco_builder import BOXED, CROWD, IGNORED
from kdet.data.coco_file import category_names, derived_box, is_box, roots
from kdet.data.coco_table import CocoTable, read_table
from kdet.data.folders import ImageFolder, find_or_report
from kdet.data.index import EXAMPLES, DatasetIndex, Faults, Skips, as_boxes, as_labels
from kdet.data.packed import Texts
from kdet.data.records import Objects, Record, Records
from kdet.typing import Array, PathLike

logger = logging.getLogger("kdet.data")

CROWDS = ("ignore", "objects")
_ROWS = 2**20  # annotations at a time


def read_coco(
    annotations: PathLike,
    images: PathLike | None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
    crowds: str = "ignore",
) -> DatasetIndex:
    """Reads one COCO annotation file.

    Left out, counted and reported: boxes outside the image or thinner than a pixel, annotations marked
    ``ignore``, without a usable box, of an image or category that is not listed, and with ``masks``
    objects without a usable segmentation. Crowds become ignore regions. An object without a box gets that
    around its polygons. A category that only heads others (Roboflow's root) is no class.

    Args:
        annotations: path of the JSON file.
        images: folder that the ``file_name`` entries start from.
        classes: names to use, in label order; None takes all categories in the file's order.
        masks: keep the segmentations.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for entries with values of the wrong kind and damaged segmentations.
        allow_outside: image names may lead out of the folder.
        crowds: "ignore", or "objects" for files that mark single objects as crowds (CVAT's run lengths).

    Returns:
        ``DatasetIndex``.

    Raises:
        MissingFile, DataError: naming the file, the entry, its value and what to do.
    """
    folder = ImageFolder(images, allow_outside=allow_outside)
    skips = Skips()
    faults = Faults(skips, on_corrupt)
    table = read_table(annotations, masks, faults)
    table.report(annotations, faults)
    names = category_names(annotations, table.categories)
    class_names = select_classes(_class_names(table, names, skips), classes, annotations)
    id_of = {name: i for i, name in names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}
    labels = np.array([label_of.get(number, -1) for number in names], np.int32)

    left_out, paths = Skips(), {}
    first: dict[str, tuple[int, int]] = {}
    for position, name in enumerate(table.names):
        path = _find(folder, name, annotations, on_missing, Faults(left_out, on_corrupt))
        if path is not None:
            paths[position] = path
            continue
        for kind in left_out.counts:
            first.setdefault(kind, (position, 0))
    records, unusable, first_unusable = records_of_table(
        table, np.array(list(paths), np.int64), Texts.of(paths.values()), labels, crowds == "ignore"
    )
    skips.update_in_order([left_out, unusable], {**first, **first_unusable})
    index = DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=records,
        skips=skips,
        has_masks=masks,
        coco_file=annotations,
    )
    _warn_of_crowds(index, annotations)
    return index


def _class_names(table: CocoTable, names: Mapping[int, str], skips: Skips) -> list[str]:
    """All categories, without those that head others and have no annotation."""
    numbers = list(names)
    unused = roots(table.categories) - {numbers[position] for position in np.unique(table.category)}
    for number in sorted(unused):
        skips.add("category that only heads others, which is no class", names[number])
    return [name for number, name in names.items() if number not in unused]


def _find(folder: ImageFolder, name: str, where: PathLike, on_missing: str, faults: Faults) -> str | None:
    if name.startswith("COCO_") and folder.find(name) is None:
        # LVIS v0.5 lists COCO 2017 by the names of 2014
        path = folder.find(name.rsplit("_", 1)[1])
        if path is not None:
            return path
    return find_or_report(folder, name, where, on_missing, faults)


def _warn_of_crowds(index: DatasetIndex, where: PathLike) -> None:
    regions = int(index.records.ignored.counts.sum())
    if regions and not index.num_objects:
        logger.warning(
            "All %d objects of %s are marked iscrowd: nothing would be learned from them. If they are single "
            "objects (CVAT marks its run lengths so), set data.crowds: objects.",
            regions,
            where,
        )


def records_of_table(
    table: CocoTable, images: Array, sources: Sequence[Any], labels: Array, ignore_crowds: bool
) -> tuple[Records, Skips, dict[str, tuple[int, int]]]:
    """Some images with their usable objects; what was unusable, and the place of the first for each reason.

    Args:
        table: the file.
        images: int ``[m]``, which, rising.
        sources: what each of them is read from.
        labels: int32, the label of every category, -1: not wanted.
        ignore_crowds: crowds are regions to ignore.
    """
    count = len(table.image_id)
    there = np.zeros(count, bool)
    there[images] = True
    owners = np.repeat(np.arange(count, dtype=np.int32), np.diff(table.splits))
    wanted = (labels[table.category] >= 0) & there[owners]
    defects = _defects(table, owners)
    skips, first = Skips(), {}
    for number, reason in enumerate(DEFECTS, start=1):
        rows = np.flatnonzero(wanted & (defects == number))
        if len(rows):
            first[reason] = int(owners[rows[0]]), 1 + int(rows[0])
        for row in rows[:EXAMPLES]:
            skips.add(reason, f"annotation {table.label(row)} of {table.names[owners[row]]}")
        if len(rows) > EXAMPLES:
            skips.counts[reason] += len(rows) - EXAMPLES
    usable = wanted & (defects == 0)
    crowds = (table.flags & CROWD).astype(bool) if ignore_crowds else np.zeros(len(usable), bool)

    def objects(chosen: Array) -> Objects:
        rows = np.flatnonzero(chosen)
        counts = np.bincount(owners[rows], minlength=count)[images]
        stops = np.cumsum(counts)
        return Objects(
            boxes=_corners(table, rows),
            labels=labels[table.category[rows]],
            shapes=None if table.shapes is None else table.shapes.take(rows),
            starts=stops - counts,
            stops=stops,
        )

    records = Records(
        image_id=table.image_id[images],
        sizes=table.sizes[images],
        names=table.names.take(images),
        sources=sources,
        empty=(np.bincount(owners[wanted], minlength=count) == 0)[images],
        objects=objects(usable & ~crowds),
        ignored=objects(usable & crowds),
    )
    return records, skips, first


DEFECTS = (
    "annotation marked 'ignore'",
    "annotation without a usable 'bbox' [x, y, w, h]",
    "degenerate box (thinner than a pixel, or no area)",
    "box outside the image",
    "object without a usable segmentation",
)


def _defects(table: CocoTable, owners: Array) -> Array:
    """Why each annotation cannot be used: uint8 ``[k]``, 1 and more for one of ``DEFECTS``, 0: it can."""
    found = np.zeros(len(owners), np.uint8)
    for start in range(0, len(owners), _ROWS):
        block = slice(start, start + _ROWS)
        x, y, w, h = table.boxes[block].T
        height, width = table.sizes[owners[block]].T
        inside_w = np.minimum(x + w, width) - np.maximum(x, 0)
        inside_h = np.minimum(y + h, height) - np.maximum(y, 0)
        unmasked = np.zeros(len(x), bool) if table.shapes is None else table.shapes.lengths[block] == 0
        reasons = [
            table.flags[block] & IGNORED > 0,
            table.flags[block] & BOXED == 0,
            (w < 1) | (h < 1) | (table.areas[block] <= 0),  # NaN, which is no area given, is not below
            (inside_w <= 0) | (inside_h <= 0),
            unmasked,
        ]
        found[block] = np.select(reasons, [1, 2, 3, 4, 5])
    return found


def _corners(table: CocoTable, rows: Array) -> Array:
    """The boxes float32 ``[k,4]`` xyxy of some rows."""
    found = np.empty((len(rows), 4), np.float32)
    for start in range(0, len(rows), _ROWS):
        boxes = table.boxes[rows[start : start + _ROWS]]
        boxes[:, 2:] += boxes[:, :2]
        found[start : start + _ROWS] = boxes
    return found


def make_record(
    info: dict[str, Any],
    source: Any,
    annotations: Sequence[dict[str, Any]],
    label_of: Mapping[Any, int],
    masks: bool,
    skips: Skips,
    crowds: str = "ignore",
) -> Record:
    """A ``Record`` from one entry of ``images`` and its annotations; unusable ones are counted in ``skips``.

    Args:
        info: dict with ``id``, ``file_name``, ``height``, ``width``.
        source: what the index reads the image from.
        annotations: COCO annotation dicts.
        label_of: label of every wanted category id.
        masks: keep the segmentations, and require them.
        skips: ``Skips`` to count in.
        crowds: see ``read_coco``.
    """
    groups: dict[bool, tuple[list[Any], list[Any], list[Any]]] = {
        False: ([], [], []),
        True: ([], [], []),
    }  # crowd -> boxes, labels, segmentations
    wanted = [a for a in annotations if a["category_id"] in label_of]
    for annotation in wanted:
        box: Any = annotation.get("bbox") or derived_box(annotation)
        reason = _defect(annotation, box, info, masks)
        if reason:
            skips.add(reason, f"annotation {annotation.get('id')} of {info['file_name']}")
            continue
        x, y, w, h = box
        box, label = [x, y, x + w, y + h], label_of[annotation["category_id"]]
        boxes, labels, segmentations = groups[crowds == "ignore" and bool(annotation.get("iscrowd"))]
        boxes.append(box)
        labels.append(label)
        segmentations.append(annotation.get("segmentation"))
    return Record(
        image_id=int(info["id"]),
        name=info["file_name"],
        source=source,
        height=int(info["height"]),
        width=int(info["width"]),
        boxes=as_boxes(groups[False][0]),
        labels=as_labels(groups[False][1]),
        ignore_boxes=as_boxes(groups[True][0]),
        ignore_labels=as_labels(groups[True][1]),
        segmentations=groups[False][2] if masks else None,
        ignore_segmentations=groups[True][2] if masks else None,
        empty=not wanted,
    )


def _defect(annotation: dict[str, Any], box: Any, info: dict[str, Any], masks: bool) -> str | None:
    """Why an annotation cannot be used, or None."""
    if annotation.get("ignore"):
        return DEFECTS[0]
    if not is_box(box):
        return DEFECTS[1]
    x, y, w, h = box
    area = annotation.get("area")
    inside_w = min(x + w, info["width"]) - max(x, 0)
    inside_h = min(y + h, info["height"]) - max(y, 0)
    if w < 1 or h < 1 or (area is not None and area <= 0):
        return DEFECTS[2]
    if inside_w <= 0 or inside_h <= 0:
        return DEFECTS[3]
    if masks and annotation.get("segmentation") is None:
        return DEFECTS[4]
    return None
