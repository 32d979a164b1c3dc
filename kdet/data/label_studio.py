"""Reader of Label Studio's JSON export (the full one, a list of tasks).

Rectangles, polygons, ellipses (a polygon of 64 corners) and brushes are objects, also where their class
stands in a result of its own ("labels"). Key points and what has no place in an image are counted.
"""

import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.data import decoding, files
from kdet.data import masks as instance_masks
from kdet.data.gathering import Found, Gathering, ellipse, is_side, number, rectangle, turned
from kdet.data.index import DatasetIndex
from kdet.errors import DataError, short
from kdet.typing import Array, Pair, PathLike, Rle

SHAPES = ("rectangle", "polygon", "ellipse", "brush")
LABELS = ("labels", *(f"{kind}labels" for kind in SHAPES))
UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")  # what an upload puts in front of the name of a file


def read_label_studio(
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

    Of several annotations of a task the one marked as ground truth is taken, else the first that was not
    cancelled; the others are counted. An image is looked for by the path that the task has, then by its last
    part, then without what an upload puts in front of it.

    Args:
        annotations: the JSON file.
        images: folder of the images.
        classes: names to use, in label order; None takes all that occur, sorted.
        masks: keep polygons and brushes.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for tasks and results with wrong values.
        allow_outside: image names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        MissingFile, DataError: naming the file, the task, the result, its value and what to do.
    """
    tasks = files.read_json(annotations, "Label Studio export (data.annotations)")
    if not is_label_studio(tasks):
        raise DataError(
            f"{annotations} is no export of Label Studio (a list of tasks with 'data' and 'annotations'). "
            "Export as 'JSON' (not JSON-MIN)."
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
    for position, task in enumerate(tasks, start=1):
        where = (
            f"{annotations}: task {short(task.get('id', position)) if isinstance(task, dict) else position}"
        )
        try:
            given = _image_of(task)
            results = _results(task, where, gathering)
        except DataError as error:
            gathering.faults.add("unusable task", where, str(error))
            continue
        image = _find(given, gathering)
        if image is None:
            continue
        name, path = image
        size = gathering.size(path, _declared(results), where)
        if size is not None:
            gathering.add(name, path, size, _objects(results, where, size, gathering))
    return gathering.index()


def is_label_studio(content: Any) -> bool:
    """Whether the content of a JSON file is a list of tasks."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and "data" in content[0]
        and bool({"annotations", "completions"} & set(content[0]))
    )


def _image_of(task: Any) -> str:
    """The path or address of a task's image."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise DataError(f"its 'data' is {short(data)}, not a mapping")
    texts = [value for value in data.values() if isinstance(value, str) and "\0" not in value]
    named = [v for key, v in data.items() if key in ("image", "img") and isinstance(v, str)]
    endings = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
    named += [text for text in texts if text.lower().split("?")[0].endswith(endings)]
    if not named or not named[0].strip() or "\0" in named[0]:
        raise DataError(f"its 'data' names no image: {short(data)}")
    return named[0]


def _results(task: dict[str, Any], where: str, gathering: Gathering) -> list[dict[str, Any]]:
    """The results of the annotation that counts."""
    done = task.get("annotations", task.get("completions"))
    if not isinstance(done, list) or not all(isinstance(one, dict) for one in done):
        raise DataError(f"its 'annotations' are {short(done)}, not a list of mappings")
    usable = [one for one in done if not one.get("was_cancelled")]
    if len(usable) > 1:
        gathering.skips.add("further annotation of the same image", where, len(usable) - 1)
    usable.sort(key=lambda one: one.get("ground_truth") is not True)
    results = usable[0].get("result") if usable else []
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise DataError(f"its 'result' is {short(results)}, not a list of mappings")
    return results


def _find(given: str, gathering: Gathering) -> tuple[str, str] | None:
    """``(name, path)`` of the image that a task means, None where it is missing and that was counted."""
    address = urllib.parse.urlsplit(given)
    query = urllib.parse.parse_qs(address.query).get("d")
    path = (query[0] if query else urllib.parse.unquote(address.path)).replace("\\", "/").lstrip("/")
    last = path.rsplit("/", 1)[-1]
    upload = UPLOAD.fullmatch(last)
    parts = path.split("/")
    # the folder may be any of those in the path; then the file alone
    names = ["/".join(parts[i:]) for i in range(len(parts))] + ([upload[1]] if upload else [])
    for name in names:
        if name and not any(part in ("", ".", "..") for part in name.split("/")):
            found = gathering.folder.find(name)
            if found is not None:
                return name, found
    found = gathering.find(path)
    return None if found is None else (path, found)


def _declared(results: list[dict[str, Any]]) -> tuple[Any, Any] | None:
    """(height, width) as the first result says, None where none does."""
    for one in results:
        if one.get("original_height") is not None and one.get("original_width") is not None:
            return one["original_height"], one["original_width"]
    return None


def _objects(results: list[dict[str, Any]], where: str, size: Pair, gathering: Gathering) -> list[Found]:
    """Results of one id are one region: its shape and its class may stand in two of them."""
    regions: dict[Any, dict[str, Any]] = {}
    for position, one in enumerate(results, start=1):
        place = f"{where}, result {position}"
        value = one.get("value")
        if not isinstance(one.get("type"), str) or not isinstance(value, dict):
            gathering.faults.add("unusable result", place, f"its 'value' is {short(value)}")
            continue
        if one["type"] not in (*SHAPES, *LABELS):
            gathering.skips.add(f"result without area ({short(one['type'])[1:-1]})", place)
            continue
        number_of = one.get("id")
        key = number_of if isinstance(number_of, (str, int)) else position
        region = regions.setdefault(key, {"where": place, "value": {}, "kind": None, "of": one})
        region["value"].update(value)
        kind = one["type"].removesuffix("labels")
        if kind:
            region["kind"], region["of"] = kind, one
    found = []
    for region in regions.values():
        try:
            found.append(_object(region, size))
        except DataError as error:
            gathering.faults.add("unusable result", region["where"], str(error))
    return found


def _object(region: dict[str, Any], size: Pair) -> Found:
    value, kind, where = region["value"], region["kind"], region["where"]
    names = next((value[key] for key in LABELS if value.get(key)), None)
    if not isinstance(names, list) or not names:
        raise DataError(f"it has no class ({short(names)})")
    if kind is None:
        raise DataError("it has a class, but no shape")
    sizes = [region["of"].get(f"original_{side}") for side in ("height", "width")]
    if None not in sizes and (not all(map(is_side, sizes)) or [int(side) for side in sizes] != list(size)):
        raise DataError(f"its original height and width are {short(sizes)}, the image is {list(size)}")
    if kind == "brush":
        return Found(names[0], where, None, _brush(value, size))
    if kind == "polygon":
        return Found(names[0], where, None, [_polygon(value.get("points"), size)])
    height, width = size
    x, y = _percent(value, "x", width), _percent(value, "y", height)
    degrees = number(value.get("rotation", 0) or 0, "its rotation") % 360
    if kind == "ellipse":
        radii = _percent(value, "radiusX", width), _percent(value, "radiusY", height)
        return Found(names[0], where, None, [ellipse((x, y), radii, degrees)])
    right, bottom = x + _percent(value, "width", width), y + _percent(value, "height", height)
    corners = turned(rectangle(x, y, right, bottom), (x, y), degrees)
    return Found(names[0], where, None if degrees else [x, y, right, bottom], [corners])


def _percent(value: dict[str, Any], key: str, side: int) -> float:
    if key not in value:
        raise DataError(f"it has no {key}")
    return number(value[key], f"its {key}") / 100 * side


def _polygon(points: Any, size: Pair) -> list[float]:
    if not isinstance(points, list) or len(points) < 3:
        raise DataError(f"a polygon has three corners at least, got {short(points)}")
    flat: list[float] = []
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise DataError(f"a point is [x, y] in percent, got {short(point)}")
        flat += [number(point[0], "an x") / 100 * size[1], number(point[1], "a y") / 100 * size[0]]
    return flat


def _brush(value: dict[str, Any], size: Pair) -> Rle:
    height, width = size
    if value.get("format") != "rle":
        raise DataError(f"a brush has the format 'rle', got {short(value.get('format'))}")
    pixels = unpack_brush(value.get("rle"), 4 * height * width).reshape(height, width, 4)[..., 3] > 0
    if not pixels.any():
        raise DataError("its mask is empty")
    return instance_masks.encode_pixels(pixels)


def unpack_brush(rle: Any, count: int) -> Array:
    """The values that Label Studio packs a brush in: uint8 ``[count]``, RGBA along the rows.

    A stream of bits: how many values follow (32 bits), bits of a value - 1 (5), four lengths - 1 of counters
    (4 each). Then runs: whether it is one value repeated (1), which counter (2), the counter (length of the
    run - 1), and the value, or the values one after the other.

    Raises:
        DataError: no list of bytes, cut off, or not of ``count`` values.
    """
    if not isinstance(rle, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise DataError(f"its rle is {short(rle)}, not a list of bytes")
    if count > 4 * decoding.max_pixels():
        raise DataError("its image is too large for a brush")
    bits = np.unpackbits(np.array(rle, np.uint8))
    position = 0

    def read(length: int) -> int:
        nonlocal position
        if position + length > len(bits):
            raise DataError("its rle is cut off")
        value = int(
            bits[position : position + length].dot(1 << np.arange(length - 1, -1, -1, dtype=np.int64))
        )
        position += length
        return value

    stated = read(32)
    if stated != count:
        raise DataError(f"its rle has {stated} values, the image {count}")
    word = read(5) + 1
    if word > 8:
        raise DataError(f"its rle has values of {word} bits, more than the 8 of a color")
    lengths = [read(4) + 1 for _ in range(4)]
    values, done = np.zeros(count, np.uint8), 0
    weights = 1 << np.arange(word - 1, -1, -1)
    while done < count:
        repeated = read(1)
        run = read(lengths[read(2)]) + 1
        if done + run > count:
            raise DataError("its rle is longer than the image")
        if repeated:
            values[done : done + run] = read(word)
        else:
            end = position + run * word
            if end > len(bits):
                raise DataError("its rle is cut off")
            values[done : done + run] = bits[position:end].reshape(run, word).dot(weights)
            position = end
        done += run
    return values
