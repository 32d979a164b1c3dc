"""Reader of Pascal VOC XML annotations."""

import os
import xml.etree.ElementTree as ElementTree

import numpy as np

from kdet.data import pictures
from kdet.data.folders import PictureFolder, missing_picture
from kdet.data.index import (
    DatasetIndex,
    Record,
    Skips,
    as_boxes,
    as_labels,
    select_classes,
)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")


def read_voc(annotations, images=None, *, classes=None, masks=False, on_missing="error"):
    """Reads one split of a VOC folder (``Annotations/``, ``ImageSets/Main/``, ``JPEGImages/``).

    Coordinates follow the reference: truncated to whole pixels, then 1 subtracted from all four (VOC
    counts from 1). Difficult objects become ignore regions. Boxes without area or outside the picture
    are skipped and counted, and so are objects of classes that are not asked for.

    Args:
        annotations: the split, a text file with one picture name per line.
        images: the VOC folder; None takes the one that holds ``annotations`` (three levels up).
        classes: names to use, in label order; None takes all names found, sorted.
        masks: not available in this format; must be False.
        on_missing: "error" or "skip", for pictures that are not on disk.

    Returns:
        ``DatasetIndex``; picture ids count from 0 in the order of the split.

    Raises:
        FileNotFoundError, ValueError: naming the file and what to do.
    """
    if masks:
        raise ValueError("VOC XML has no instance masks: set data.masks: false or use COCO annotations.")
    root = os.fspath(images) if images else os.path.dirname(os.path.dirname(os.path.dirname(annotations)))
    skips, folder = Skips(), PictureFolder(os.path.join(root, "JPEGImages"))
    trees = []
    for name in _names(annotations):
        path = next((p for p in (folder.find(name + e) for e in EXTENSIONS) if p), None)
        if path is None:
            missing_picture(folder, name + ".jpg", annotations, on_missing, skips)
            continue
        trees.append((name, path, _parse(os.path.join(root, "Annotations", name + ".xml"))))
    found = sorted({_text(o, "name", p) for _, p, tree in trees for o in tree.findall("object")})
    class_names = select_classes(found, classes, annotations)
    label_of = {name: label for label, name in enumerate(class_names)}
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=list(range(1, len(class_names) + 1)),
        records=[_record(i, *entry, label_of, skips) for i, entry in enumerate(trees)],
        skips=skips,
    )


def _names(path):
    try:
        with open(path, encoding="utf-8") as file:
            names = [line.split()[0] for line in file if line.strip()]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"VOC split file {path} does not exist (data.annotations).") from error
    if not names:
        raise ValueError(f"VOC split file {path} lists no picture.")
    return names


def _parse(path):
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Annotation {path} does not exist, though its split lists it.") from error
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not valid XML: {error}") from error


def _text(node, key, path):
    found = node.find(key)
    if found is None or found.text is None:
        raise ValueError(f"The annotation of {path}: <{node.tag}> has no <{key}>.")
    return found.text.strip()


def _record(image_id, name, path, tree, label_of, skips):
    height, width = _size(tree, path)
    groups = {False: ([], []), True: ([], [])}  # difficult -> boxes, labels
    objects = tree.findall("object")
    wanted = [o for o in objects if _text(o, "name", path) in label_of]
    if len(wanted) < len(objects):
        skips.add("object of a class that is not asked for", name, len(objects) - len(wanted))
    for node in wanted:
        corners = node.find("bndbox")
        if corners is None:
            skips.add("object without a box", name)
            continue
        box = np.array([int(float(_text(corners, k, path))) for k in ("xmin", "ymin", "xmax", "ymax")]) - 1
        if box[2] <= box[0] or box[3] <= box[1]:
            skips.add("degenerate box (no area)", name)
            continue
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            skips.add("box outside the picture", name)
            continue
        difficult = node.find("difficult")
        boxes, labels = groups[difficult is not None and int(difficult.text) != 0]
        boxes.append(box)
        labels.append(label_of[_text(node, "name", path)])
    return Record(
        image_id=image_id,
        name=name,
        source=path,
        height=height,
        width=width,
        boxes=as_boxes(groups[False][0]),
        labels=as_labels(groups[False][1]),
        ignore_boxes=as_boxes(groups[True][0]),
        ignore_labels=as_labels(groups[True][1]),
        empty=not wanted,
    )


def _size(tree, path):
    """(h, w) from the XML, or from the picture itself where the XML does not say."""
    size = tree.find("size")
    if size is not None:
        height, width = int(_text(size, "height", path)), int(_text(size, "width", path))
        if height > 0 and width > 0:
            return height, width
    with open(path, "rb") as file:
        encoded = file.read()
    try:
        return pictures.size_of(encoded)
    except pictures.CorruptPicture as error:
        raise ValueError(f"{path} {error}, and its annotation does not give its <size>.") from error
