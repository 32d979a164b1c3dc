"""Reader of Pascal VOC XML annotations."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from kdet.data import decoding, files, xml_file
from kdet.data.classes import select_classes
from kdet.data.folders import ImageFolder, missing_image
from kdet.data.index import DatasetIndex, Faults, Record, Skips, as_boxes, as_labels
from kdet.errors import DataError, MissingFile, short
from kdet.typing import Pair, PathLike

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
FAR = 1e6  # no coordinate lies beyond it
MAX_SIDE = 2**20
_SIDES = ("xmin", "ymin", "xmax", "ymax")
Entry = tuple[str, str, Pair, list[Any]]  # name, image path, (h, w), objects


def read_voc(
    annotations: PathLike,
    images: PathLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Reads one split of a VOC folder (``Annotations/``, ``ImageSets/Main/``, ``JPEGImages/``).

    Coordinates follow the reference: truncated to whole pixels, then 1 subtracted from all four (VOC
    counts from 1). Difficult objects become ignore regions. Boxes without area or outside the image
    are skipped and counted, and so are objects of classes that are not asked for.

    Args:
        annotations: the split, a text file with one image name per line (with or without its ending; a
            second column of 1, 0 or -1, as in the files of one class, is passed over).
        images: the VOC folder; None takes the one that holds ``annotations`` (three levels up). A folder
            without ``JPEGImages`` and ``Annotations`` is taken to hold images and XML files side by side.
        classes: names to use, in label order; None takes all names found, sorted.
        masks: not available in this format; must be False.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for annotations that cannot be read and objects with wrong values.
        allow_outside: names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the split.

    Raises:
        MissingFile, DataError: naming the file, the value and what to do.
    """
    if masks:
        raise DataError("VOC XML has no instance masks: set data.masks: false or use COCO annotations.")
    names = _names(annotations)
    root = os.fspath(images) if images else os.path.dirname(os.path.dirname(os.path.dirname(annotations)))
    parts = [os.path.join(root, part) for part in ("JPEGImages", "Annotations")]
    if not any(map(os.path.isdir, parts)):
        parts = [root, root]
    skips, folder = Skips(), ImageFolder(parts[0], allow_outside=allow_outside)
    xml, faults = ImageFolder(parts[1], "data.images", allow_outside), Faults(skips, on_corrupt)
    reader = _Reader(annotations, folder, xml, on_missing, faults)
    entries = [entry for entry in map(reader.read, names) if entry is not None]
    found = sorted({o["name"] for *_, objects in entries for o in objects})
    class_names = select_classes(found, classes, annotations)
    label_of = {name: label for label, name in enumerate(class_names)}
    return DatasetIndex(
        name=str(annotations),
        class_names=class_names,
        category_ids=list(range(1, len(class_names) + 1)),
        records=[_record(i, entry, label_of, skips) for i, entry in enumerate(entries)],
        skips=skips,
    )


def _names(path: PathLike) -> list[str]:
    """The image names of a split file, each once."""
    names: dict[str, None] = {}
    for line in files.read_text(path, "VOC split file (data.annotations)").splitlines():
        line = line.strip()
        stem, _, last = line.rpartition(" ")
        name = stem.strip() if last in ("1", "0", "-1") and stem.strip() else line
        if "\0" in name or name.startswith("<"):
            raise DataError(f"VOC split file {path} has the line {short(name)}, which is no image name.")
        if name:
            names[name] = None
    if not names:
        raise DataError(f"VOC split file {path} lists no image.")
    return list(names)


class _Reader:
    """Reads the image and annotation of one line of a split after the other."""

    def __init__(
        self, split: PathLike, folder: ImageFolder, xml: ImageFolder, on_missing: str, faults: Faults
    ) -> None:
        self.split, self.folder, self.xml = os.fspath(split), folder, xml
        self.on_missing, self.faults = on_missing, faults

    def read(self, name: str) -> Entry | None:
        """``(name, image path, (h, w), objects)``, or None where that was counted as a skip."""
        stem, ending = os.path.splitext(name)
        name = stem if ending.lower() in EXTENSIONS else name
        try:
            path = self._image(name)
        except DataError as error:
            self.faults.add("image name that leads out of the folder", self.split, str(error).rstrip("."))
            return None
        if path is None:
            missing_image(self.folder, name + ".jpg", self.split, self.on_missing, self.faults.skips)
            return None
        annotation = os.path.join(self.xml.root, name + ".xml")
        if self.xml.find(name + ".xml") is None:
            raise MissingFile(
                f"Annotation {annotation} does not exist or is no file, though {self.split} lists it."
            )
        try:
            tree = _parse(annotation)
            size = _size(tree, path, annotation)
        except DataError as error:
            self.faults.add("unusable annotation file", self.split, str(error).rstrip("."))
            return None
        return name, path, size, self._objects(tree, annotation, os.path.basename(path))

    def _image(self, name: str) -> str | None:
        for ending in EXTENSIONS:
            for variant in (ending, ending.upper(), ending.capitalize(), "." + ending[1:].capitalize()):
                path = self.folder.find(name + variant)
                if path is not None:
                    return path
        return None

    def _objects(self, tree: ElementTree.Element, annotation: str, image: str) -> list[dict[str, Any]]:
        found = []
        for number, node in enumerate(tree.findall("object"), start=1):
            try:
                found.append(_object(node))
            except DataError as error:
                where = f"{annotation}: object {number} of {image}"
                self.faults.add("object with unusable values", where, str(error))
        return found


def _parse(path: str) -> ElementTree.Element:
    tree = xml_file.parse(path)
    if tree.tag.lower() == "html" or (tree.tag != "annotation" and tree.find("object") is None):
        raise DataError(f"{path} is no VOC annotation: its root is <{tree.tag[:40]}>, not <annotation>.")
    return tree


def _text(node: ElementTree.Element, key: str) -> str:
    found = node.find(key)
    if found is None or found.text is None or not found.text.strip():
        raise DataError(f"<{node.tag}> has no <{key}>")
    return found.text.strip()


def _number(node: ElementTree.Element, key: str) -> float:
    text = _text(node, key)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if "_" in text or not -FAR < value < FAR:
        raise DataError(f"<{key}> is {short(text)}, not a number of pixels")
    return value


def _object(node: ElementTree.Element) -> dict[str, Any]:
    """One object: ``name``, ``difficult`` and ``box`` (None where it has none)."""
    found: dict[str, Any] = {"name": _text(node, "name"), "difficult": False, "box": None}
    difficult = node.find("difficult")
    flag = "" if difficult is None else (difficult.text or "").strip()
    if flag:
        if flag.lower() not in ("0", "1", "true", "false"):
            raise DataError(f"<difficult> is {short(flag)}, not 0 or 1")
        found["difficult"] = flag.lower() in ("1", "true")
    corners = node.find("bndbox")
    if corners is not None:
        found["box"] = [int(_number(corners, key)) - 1 for key in _SIDES]
    return found


def _record(image_id: int, entry: Entry, label_of: dict[str, int], skips: Skips) -> Record:
    name, path, size, objects = entry
    groups: dict[bool, tuple[list[Any], list[Any]]] = {
        False: ([], []),
        True: ([], []),
    }  # difficult -> boxes, labels
    wanted = [o for o in objects if o["name"] in label_of]
    if len(wanted) < len(objects):
        skips.add("object of a class that is not asked for", name, len(objects) - len(wanted))
    for found in wanted:
        reason = _defect(found["box"], *size)
        if reason:
            skips.add(reason, name)
            continue
        boxes, labels = groups[found["difficult"]]
        boxes.append(found["box"])
        labels.append(label_of[found["name"]])
    return Record(
        image_id=image_id,
        name=name,
        source=path,
        height=size[0],
        width=size[1],
        boxes=as_boxes(groups[False][0]),
        labels=as_labels(groups[False][1]),
        ignore_boxes=as_boxes(groups[True][0]),
        ignore_labels=as_labels(groups[True][1]),
        empty=not wanted,
    )


def _defect(box: Any, height: int, width: int) -> str | None:
    """Why an object cannot be used, or None."""
    if box is None:
        return "object without a box"
    if box[2] <= box[0] or box[3] <= box[1]:
        return "degenerate box (no area)"
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        return "box outside the image"
    return None


def _size(tree: ElementTree.Element, path: str, annotation: str) -> Pair:
    """(h, w) from the XML, or from the image itself where the XML does not say."""
    size = tree.find("size")
    if size is not None:
        try:
            height, width = _number(size, "height"), _number(size, "width")
        except DataError as error:
            raise DataError(f"{annotation}: {error}.") from error
        if height > 0 and width > 0 and height == int(height) and width == int(width):
            return int(height), int(width)
        if height < 0 or width < 0 or height != int(height) or width != int(width):
            raise DataError(f"{annotation}: its <size> is {height:g}x{width:g} (h x w), which no image has.")
    try:
        return decoding.size_of_file(path)
    except decoding.CorruptImage as error:
        raise DataError(f"{path} {error}, and its annotation does not give its <size>.") from error
