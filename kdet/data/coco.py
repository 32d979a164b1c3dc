"""Reader of COCO JSON annotations (boxes, polygons, RLE, crowds)."""

import json
import math
import os

from kdet.data.index import (
    DatasetIndex,
    PictureFolder,
    Record,
    Skips,
    as_boxes,
    as_labels,
    missing_picture,
    select_classes,
)


def read_coco(annotations, images, *, classes=None, masks=False, on_missing="error"):
    """Reads one COCO annotation file.

    Left out, counted and reported: boxes outside the picture or thinner than a pixel, annotations marked
    ``ignore``, without a usable box, of a picture or category that is not listed, and with ``masks``
    objects without a usable segmentation. Crowds become ignore regions.

    Args:
        annotations: path of the JSON file.
        images: folder that the ``file_name`` entries start from.
        classes: names to use, in label order; None takes all categories in the file's order.
        masks: keep the segmentations.
        on_missing: "error" or "skip", for pictures that are not on disk.

    Returns:
        ``DatasetIndex``.

    Raises:
        FileNotFoundError, ValueError: naming the file, the key and what to do.
    """
    content = _parse(annotations)
    names = {c["id"]: c["name"] for c in content["categories"]}
    if len(set(names.values())) < len(names):
        raise ValueError(f"{annotations}: two categories have the same name.")
    class_names = select_classes(list(names.values()), classes, annotations)
    id_of = {name: i for i, name in names.items()}
    label_of = {id_of[name]: label for label, name in enumerate(class_names)}

    skips, folder = Skips(), PictureFolder(images)
    by_picture = _group(content, names, skips, annotations)
    records = []
    for info in content["images"]:
        name = info["file_name"]
        path = folder.find(name)
        if path is None and name.startswith("COCO_"):  # LVIS v0.5 lists COCO 2017 by the names of 2014
            path = folder.find(name.rsplit("_", 1)[1])
        if path is None:
            missing_picture(os.path.join(folder.root, name), annotations, on_missing, skips)
            continue
        records.append(make_record(info, path, by_picture.get(info["id"], []), label_of, masks, skips))
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=[id_of[name] for name in class_names],
        records=records,
        skips=skips,
        has_masks=masks,
        coco_file=annotations,
    )


def _parse(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Annotation file {path} does not exist (data.annotations).") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    for entry in content.get("images") or [] if isinstance(content, dict) else []:
        if "file_name" not in entry and "coco_url" in entry:  # LVIS v1
            entry["file_name"] = "/".join(entry["coco_url"].split("/")[-2:])
    for key, fields in (("images", ("id", "file_name", "height", "width")), ("categories", ("id", "name"))):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not a COCO annotation file: it has no list {key!r}.")
        for entry in content[key]:
            absent = [f for f in fields if f not in entry]
            if absent:
                raise ValueError(f"{path}: an entry of {key!r} lacks {absent}: {str(entry)[:200]}")
    ids = [i["id"] for i in content["images"]]
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path}: two entries of 'images' have the same id.")
    return content


def _group(content, names, skips, path):
    """Annotations per picture id, in file order; those that belong nowhere are counted."""
    known = {i["id"] for i in content["images"]}
    groups, seen = {}, set()
    for annotation in content.get("annotations", []):
        label = f"annotation {annotation.get('id')}"
        if annotation.get("id") is not None:
            if annotation["id"] in seen:
                raise ValueError(f"{path}: two annotations have the id {annotation['id']}.")
            seen.add(annotation["id"])
        if annotation.get("image_id") not in known:
            skips.add("annotation of a picture that is not listed", label)
        elif annotation.get("category_id") not in names:
            skips.add("annotation of an unknown category id", label)
        else:
            groups.setdefault(annotation["image_id"], []).append(annotation)
    return groups


def make_record(info, source, annotations, label_of, masks, skips):
    """A ``Record`` from one entry of ``images`` and its annotations; unusable ones are counted in ``skips``.

    Args:
        info: dict with ``id``, ``file_name``, ``height``, ``width``.
        source: what the index reads the picture from.
        annotations: COCO annotation dicts.
        label_of: label of every wanted category id.
        masks: keep the segmentations, and require them.
        skips: ``Skips`` to count in.
    """
    groups = {False: ([], [], []), True: ([], [], [])}  # crowd -> boxes, labels, segmentations
    wanted = [a for a in annotations if a["category_id"] in label_of]
    for annotation in wanted:
        reason = _defect(annotation, info, masks)
        if reason:
            skips.add(reason, f"annotation {annotation.get('id')} of {info['file_name']}")
            continue
        x, y, w, h = annotation["bbox"]
        box, label = [x, y, x + w, y + h], label_of[annotation["category_id"]]
        boxes, labels, segmentations = groups[bool(annotation.get("iscrowd"))]
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


def _defect(annotation, info, masks):
    """Why an annotation cannot be used, or None."""
    if annotation.get("ignore"):
        return "annotation marked 'ignore'"
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(v) for v in box):
        return "annotation without a usable 'bbox' [x, y, w, h]"
    x, y, w, h = box
    inside_w = min(x + w, info["width"]) - max(x, 0)
    inside_h = min(y + h, info["height"]) - max(y, 0)
    if w < 1 or h < 1 or annotation.get("area", 1) <= 0:
        return "degenerate box (thinner than a pixel, or no area)"
    if inside_w <= 0 or inside_h <= 0:
        return "box outside the picture"
    if masks and not _usable(annotation.get("segmentation")):
        return "object without a usable segmentation"
    return None


def _finite(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def _usable(segmentation):
    if isinstance(segmentation, int):  # its position in a TFRecord example
        return True
    if isinstance(segmentation, dict):
        return "counts" in segmentation and "size" in segmentation
    if not isinstance(segmentation, list):
        return False
    return any(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in segmentation)
