"""Reader of COCO JSON annotations (boxes, polygons, RLE, crowds)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kdet.data import segmentations as shapes
from kdet.data.classes import select_classes
from kdet.data.coco_file import CocoFile, is_box, without_collection
from kdet.data.folders import ImageFolder, find_or_report
from kdet.data.index import DatasetIndex, Faults, Record, Skips, as_boxes, as_labels
from kdet.typing import PathLike

logger = logging.getLogger("kdet.data")

CROWDS = ("ignore", "objects")


@without_collection()
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
    content = CocoFile(annotations, faults, masks)
    class_names = select_classes(_class_names(content, skips), classes, annotations)
    id_of = {name: i for i, name in content.names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}

    records = []
    for info in content.images:
        path = _find(folder, info["file_name"], annotations, on_missing, faults)
        if path is not None:
            found = content.annotations[info["id"]]
            records.append(make_record(info, path, found, label_of, masks, skips, crowds))
    _warn_of_crowds(records, annotations)
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=records,
        skips=skips,
        has_masks=masks,
        coco_file=annotations,
    )


def _class_names(content, skips):
    """All categories, without those that head others and have no annotation."""
    used = {a["category_id"] for found in content.annotations.values() for a in found}
    unused = content.roots - used
    for number in sorted(unused):
        skips.add("category that only heads others, which is no class", content.names[number])
    return [name for number, name in content.names.items() if number not in unused]


def _find(folder, name, where, on_missing, faults):
    if name.startswith("COCO_") and folder.find(name) is None:
        # LVIS v0.5 lists COCO 2017 by the names of 2014
        path = folder.find(name.rsplit("_", 1)[1])
        if path is not None:
            return path
    return find_or_report(folder, name, where, on_missing, faults)


def _warn_of_crowds(records, where):
    objects = sum(len(r.labels) for r in records)
    regions = sum(len(r.ignore_labels) for r in records)
    if regions and not objects:
        logger.warning(
            "All %d objects of %s are marked iscrowd: nothing would be learned from them. If they are single "
            "objects (CVAT marks its run lengths so), set data.crowds: objects.",
            regions,
            where,
        )


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
        box = annotation.get("bbox") or _derived_box(annotation)
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


def _derived_box(annotation):
    """The box around the polygons of an annotation that has none itself."""
    polygons = annotation.get("segmentation")
    if shapes.is_empty(polygons) or not isinstance(polygons, list) or shapes.fault(polygons, 1, 2**20):
        return None
    return shapes.bounds(polygons)


def _defect(annotation, box, info, masks):
    """Why an annotation cannot be used, or None."""
    if annotation.get("ignore"):
        return "annotation marked 'ignore'"
    if not is_box(box):
        return "annotation without a usable 'bbox' [x, y, w, h]"
    x, y, w, h = box
    area = annotation.get("area")
    inside_w = min(x + w, info["width"]) - max(x, 0)
    inside_h = min(y + h, info["height"]) - max(y, 0)
    if w < 1 or h < 1 or (area is not None and area <= 0):
        return "degenerate box (thinner than a pixel, or no area)"
    if inside_w <= 0 or inside_h <= 0:
        return "box outside the image"
    if masks and annotation.get("segmentation") is None:
        return "object without a usable segmentation"
    return None
