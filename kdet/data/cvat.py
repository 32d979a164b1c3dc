"""Reader of "CVAT for images 1.1": one XML file with all images.

Boxes, polygons, ellipses (a polygon of 64 corners) and masks are objects; a box or an ellipse may be turned.
Polylines, points, skeletons, cuboids and tags have no area and are counted.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from kdet.data import masks as instance_masks
from kdet.data import xml_file
from kdet.data.gathering import Found, Gathering, ellipse, number, rectangle, turned
from kdet.data.index import DatasetIndex
from kdet.errors import DataError, short
from kdet.typing import Pair, PathLike

MAX_BYTES = 2**31
WITHOUT_AREA = ("polyline", "points", "skeleton", "cuboid", "tag")


def read_cvat(
    annotations: PathLike,
    images: PathLike | None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Reads one export.

    Args:
        annotations: the ``annotations.xml``.
        images: folder that the names of the images start from.
        classes: names to use, in label order; None takes the labels of the task in their order.
        masks: keep polygons and masks.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for images and shapes with wrong values.
        allow_outside: image names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        MissingFile, DataError: naming the file, the image, the shape, its value and what to do.
    """
    root = xml_file.parse(annotations, MAX_BYTES)
    if root.tag != "annotations":
        raise DataError(f"{annotations} is no export of CVAT: its root is <{root.tag[:40]}>.")
    if root.find("track") is not None:
        raise DataError(
            f"{annotations} holds tracks (CVAT for video); export the task as 'CVAT for images 1.1'."
        )
    gathering = Gathering(
        annotations,
        images,
        classes=classes,
        masks=masks,
        on_missing=on_missing,
        on_corrupt=on_corrupt,
        allow_outside=allow_outside,
    )
    for position, image in enumerate(root.iter("image"), start=1):
        name = image.get("name", "").replace("\\", "/")
        where = f"{annotations}: image {short(name)[1:-1] or position}"
        if not name.strip():
            gathering.faults.add("image without a name", where, "it has no name")
            continue
        path = gathering.find(name)
        if path is None:
            continue
        try:
            declared = [_whole(image, side) for side in ("height", "width")]
        except DataError as error:
            gathering.faults.add("image with an impossible size", where, str(error))
            continue
        size = gathering.size(path, declared, where)
        if size is not None:
            gathering.add(name, path, size, _objects(image, where, size, gathering))
    names = [label.text for label in root.iterfind("meta//labels/label/name") if label.text]
    return gathering.index(list(dict.fromkeys(names)) or None)


def _objects(image: ElementTree.Element, where: str, size: Pair, gathering: Gathering) -> list[Found]:
    found = []
    for position, node in enumerate(image, start=1):
        place = f"{where}, shape {position} (<{short(node.tag)[1:-1]}>)"
        if node.tag in WITHOUT_AREA:
            gathering.skips.add(f"shape without area (<{node.tag}>)", place)
            continue
        try:
            found.append(_object(node, place, size))
        except DataError as error:
            gathering.faults.add("unusable shape", place, str(error))
    return found


def _object(node: ElementTree.Element, where: str, size: Pair) -> Found:
    name = node.get("label", "")
    degrees = _number(node, "rotation", 0.0) % 360
    if node.tag == "box":
        left, top, right, bottom = (_number(node, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        center = (left + right) / 2, (top + bottom) / 2
        corners = turned(rectangle(left, top, right, bottom), center, degrees)
        box = None if degrees else [left, top, right, bottom]
        return Found(name, where, box, [corners])
    if node.tag == "ellipse":
        center = _number(node, "cx"), _number(node, "cy")
        return Found(
            name, where, None, [ellipse(center, (_number(node, "rx"), _number(node, "ry")), degrees)]
        )
    if node.tag == "polygon":
        return Found(name, where, None, [_points(node)])
    if node.tag == "mask":
        return Found(name, where, None, _mask(node, size))
    raise DataError("a shape of this kind is not known (box, polygon, ellipse, mask)")


def _number(node: ElementTree.Element, key: str, default: float | None = None) -> float:
    text = node.get(key)
    if text is None and default is not None:
        return default
    if text is None:
        raise DataError(f"it has no {key}")
    return number(text, key)


def _whole(node: ElementTree.Element, key: str) -> int:
    text = node.get(key)
    if text is None:
        raise DataError(f"it has no {key}")
    if not re.fullmatch(r"-?\d{1,9}", text.strip(), re.ASCII):
        raise DataError(f"its {key} is {short(text)}, not a whole number")
    return int(text)


def _points(node: ElementTree.Element) -> list[float]:
    pairs = [pair.split(",") for pair in node.get("points", "").split(";") if pair.strip()]
    wrong = next((pair for pair in pairs if len(pair) != 2), None)
    if wrong is not None:
        raise DataError(f"a point is 'x,y', got {short(','.join(wrong))}")
    if len(pairs) < 3:
        raise DataError(f"a polygon has three corners at least, this one {len(pairs)}")
    return [number(text, "a coordinate") for pair in pairs for text in pair]


def _mask(node: ElementTree.Element, size: Pair) -> dict[str, object]:
    """Run lengths along the rows of a box, of background first."""
    left, top, width, height = (_whole(node, key) for key in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise DataError(f"its box (left {left}, top {top}, {width}x{height}) reaches out of the image")
    text = node.get("rle", "")
    if not re.fullmatch(r"[\d,\s]+", text, re.ASCII):
        raise DataError(f"its rle is {short(text)}, not numbers with commas between them")
    words = [word.strip() for word in text.split(",")]
    if any(not word.isdecimal() or len(word) > 10 for word in words):
        raise DataError("its rle holds an empty or a too large number")
    runs = np.array([int(word) for word in words], np.int64)
    if runs.sum() != width * height or len(runs) > width * height + 1:
        raise DataError(f"its rle covers {runs.sum()} pixels, its box has {width * height}")
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    if not pixels.any():
        raise DataError("its mask is empty")
    return instance_masks.encode_part(pixels, (top, left), size)
