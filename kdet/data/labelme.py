"""Reader of LabelMe's JSON files, one per image.

Rectangles, polygons, circles (a polygon of 64 corners) and masks are objects. Shapes with the same label and
``group_id`` are parts of one object. Points, lines and strips have no area and are counted.
"""

import base64
import binascii
import glob
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.data import decoding, files
from kdet.data import masks as instance_masks
from kdet.data.gathering import Found, Gathering, ellipse, number
from kdet.data.index import DatasetIndex
from kdet.errors import DataError, MissingFile, short
from kdet.typing import Pair, PathLike

WITHOUT_AREA = ("point", "points", "line", "linestrip")
MAX_POINTS = 1_000_000


def read_labelme(
    annotations: PathLike,
    images: PathLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Reads a folder of LabelMe files.

    Args:
        annotations: a folder (its ``.json`` files are read), a file, or a pattern.
        images: folder of the images; None: that of the files. An ``imagePath`` that leads elsewhere is looked
            for by its last part.
        classes: names to use, in label order; None takes all that occur, sorted.
        masks: keep polygons and masks.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for files and shapes with wrong values.
        allow_outside: image names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file names.

    Raises:
        MissingFile, DataError: naming the file, the shape, its value and what to do.
    """
    paths = _files(os.fspath(annotations))
    gathering = Gathering(
        annotations,
        images or os.path.dirname(paths[0]) or ".",
        classes=classes,
        masks=masks,
        on_missing=on_missing,
        on_corrupt=on_corrupt,
        allow_outside=allow_outside,
    )
    for path in paths:
        try:
            content = _content(path)
        except DataError as error:
            gathering.faults.add("unusable annotation file", path, str(error).rstrip("."))
            continue
        image = _image(content["imagePath"], gathering)
        if image is None:
            continue
        name, found = image
        size = gathering.size(found, (content.get("imageHeight"), content.get("imageWidth")), path)
        if size is not None:
            gathering.add(name, found, size, _objects(content["shapes"], path, size, gathering))
    return gathering.index()


def is_labelme(path: str) -> bool:
    """Whether a JSON file looks like one of LabelMe, by its first bytes and keys."""
    try:
        return set(_content(path)) >= {"shapes", "imagePath"}
    except DataError:
        return False


def _files(annotations: str) -> list[str]:
    if os.path.isdir(annotations):
        paths = sorted(glob.glob(os.path.join(glob.escape(annotations), "*.json")))
        if not paths:
            raise DataError(f"The folder {annotations} holds no .json file (data.annotations).")
        return paths
    if glob.has_magic(annotations) and not os.path.exists(annotations):
        paths = sorted(glob.glob(annotations, recursive=True))
        if not paths:
            raise MissingFile(f"No file matches {annotations} (data.annotations).")
        return paths
    return [annotations]


def _content(path: str) -> dict[str, Any]:
    content = files.read_json(path, "LabelMe file")
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{path} is no file of LabelMe: it has no list of 'shapes'.")
    name = content.get("imagePath")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"{path}: its 'imagePath' is {short(name)}, not the name of an image.")
    return content


def _image(name: str, gathering: Gathering) -> tuple[str, str] | None:
    """``(name, path)`` of an image, by its path, or by its last part where that leads elsewhere."""
    name = name.replace("\\", "/")
    try:
        found = gathering.folder.find(name)
    except DataError:
        found = None
    if found is None and "/" in name:
        last = name.rsplit("/", 1)[1]
        found = gathering.folder.find(last) if last not in ("", ".", "..") else None
        name = last if found is not None else name
    if found is None:
        found = gathering.find(name)
    return None if found is None else (name, found)


def _objects(shapes: list[Any], path: str, size: Pair, gathering: Gathering) -> list[Found]:
    found: list[Found] = []
    groups: dict[Any, Found] = {}
    for position, shape in enumerate(shapes, start=1):
        where = f"{path}: shape {position}"
        try:
            one = _object(shape, where, size, gathering)
        except DataError as error:
            gathering.faults.add("unusable shape", where, str(error))
            continue
        if one is None:
            continue
        group = shape.get("group_id")
        key = (one.name, group) if type(group) in (int, str) and isinstance(one.name, str) else None
        if key in groups and isinstance(one.shape, list) and isinstance(groups[key].shape, list):
            groups[key].shape += one.shape  # the box is that around all of them
            groups[key].box = None
            continue
        found.append(one)
        if key is not None and one.shape is not None:
            groups[key] = one
    return found


def _object(shape: Any, where: str, size: Pair, gathering: Gathering) -> Found | None:
    if not isinstance(shape, dict):
        raise DataError(f"it is no mapping but {short(shape)}")
    name: Any = shape.get("label")
    kind = shape.get("shape_type") or "polygon"
    if kind in WITHOUT_AREA:
        gathering.skips.add(f"shape without area ({kind})", where)
        return None
    points = _points(shape.get("points"))
    if kind == "rectangle" and len(points) >= 2:
        xs, ys = zip(*points, strict=True)
        return Found(name, where, [min(xs), min(ys), max(xs), max(ys)], [_box_polygon(xs, ys)])
    if kind == "polygon":
        if len(points) < 3:
            raise DataError(f"a polygon has three corners at least, this one {len(points)}")
        return Found(name, where, None, [[v for point in points for v in point]])
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = float(np.hypot(edge_x - x, edge_y - y))
        box = [x - radius, y - radius, x + radius, y + radius]
        return Found(name, where, box, [ellipse((x, y), (radius, radius))])
    if kind == "mask" and len(points) == 2:
        return _mask(shape, points, name, where, size)
    raise DataError(
        f"a shape of {len(points)} points with the shape_type {short(kind)} is not known (rectangle, "
        "polygon, circle, mask)"
    )


def _points(given: Any) -> list[tuple[float, float]]:
    if not isinstance(given, list) or len(given) > MAX_POINTS:
        raise DataError(f"its 'points' are {short(given)}, not a list of [x, y]")
    points = []
    for point in given:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise DataError(f"a point is [x, y], got {short(point)}")
        points.append((number(point[0], "an x"), number(point[1], "a y")))
    return points


def _box_polygon(x: Sequence[float], y: Sequence[float]) -> list[float]:
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return [left, top, right, top, right, bottom, left, bottom]


def _mask(
    shape: dict[str, Any], points: list[tuple[float, float]], name: Any, where: str, size: Pair
) -> Found:
    """A mask in PNG, which covers the box between two points, ends included."""
    (left, top), _ = points
    try:
        encoded = base64.b64decode(shape.get("mask") or "", validate=True)
        height, width = decoding.stored_size(encoded)
        if height > size[0] or width > size[1]:
            raise DataError(f"its mask is {height}x{width}, larger than the image")
        with tf.device("CPU"):
            pixels = tf.io.decode_png(encoded, channels=1).numpy()[..., 0] > 0
    except (binascii.Error, TypeError, ValueError, tf.errors.OpError) as error:
        reason = str(error) if isinstance(error, DataError) else "it is no base64 of a PNG"
        raise DataError(f"its mask cannot be read: {reason}".rstrip(".")) from error
    row, column = round(top), round(left)
    if not (0 <= row <= size[0] - height and 0 <= column <= size[1] - width):
        raise DataError(f"its mask at {short((left, top))} reaches out of the image")
    if not pixels.any():
        raise DataError("its mask is empty")
    return Found(name, where, None, instance_masks.encode_part(pixels, (row, column), size))
