"""Images and objects of one annotation source on their way into an index: the rules that formats share.

A reader finds the objects of an image in its own format and hands them over as :class:`Found`. What is
wrong with an object's values is a fault that names file and place (an error, or with ``on_corrupt="skip"``
counted); what is right but of no use (no area, outside the image) is counted, as for COCO.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from kdet.data import decoding, folders, segmentations
from kdet.data.classes import select_classes
from kdet.data.coco import make_record
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.errors import DataError, short
from kdet.typing import Pair, PathLike

FAR = 1e6  # no coordinate of a box lies beyond it
MAX_SIDE = 2**20


@dataclasses.dataclass
class Found:
    """One object as an annotation file has it.

    Attributes:
        name: of its class.
        where: file and place, for messages ("labels/a.txt, line 3").
        box: ``[x1, y1, x2, y2]`` in pixels of the image; None: that around the polygons.
        shape: COCO polygons or run lengths, None where it has no mask.
        crowd: a region that does not count.
    """

    name: str
    where: str
    box: Sequence[float] | None = None
    shape: Any = None
    crowd: bool = False


class Gathering:
    """Collects the images of a data set.

    Args:
        source: what is read, for messages and as the name of the index.
        images: folder that the names of images start from; None: the reader finds them itself.
        classes, masks, on_missing, on_corrupt, allow_outside: as for :func:`kdet.data.read_coco`.

    Attributes:
        skips, faults: what was left out; what the reader itself finds wrong goes there too.
        folder: the ``ImageFolder``.
    """

    def __init__(
        self,
        source: PathLike,
        images: PathLike | None,
        *,
        classes: Sequence[str] | None,
        masks: bool,
        on_missing: str,
        on_corrupt: str,
        allow_outside: bool = False,
    ) -> None:
        self.source, self.masks, self._classes = source, masks, classes
        self._on_missing = on_missing
        self.skips = Skips()
        self.faults = Faults(self.skips, on_corrupt)
        self.folder = folders.ImageFolder(images, allow_outside=allow_outside)
        self._images: list[tuple[dict[str, Any], str, list[dict[str, Any]]]] = []
        self._names: dict[str, None] = {}

    def find(self, name: str) -> str | None:
        """The path of an image, None where it is missing or may not be used and that was counted."""
        return folders.find_or_report(self.folder, name, self.source, self._on_missing, self.faults)

    def size(self, path: str, declared: Sequence[Any] | None = None, where: str = "") -> Pair | None:
        """``(h, w)`` as the annotations declare it, or from the header of the image.

        None where neither can be used and that was counted.
        """
        if declared is not None and all(value is not None for value in declared):
            height, width = declared
            if all(is_side(side) for side in (height, width)):
                return int(height), int(width)
            reason = f"it says that the image is {short(height)}x{short(width)} (h x w)"
            self.faults.add("image with an impossible size", where or str(self.source), reason)
            return None
        try:
            return decoding.size_of_file(path)
        except DataError as error:
            self.faults.add("image that cannot be read", path, str(error).removeprefix(path).strip(" ."))
            return None

    def add(self, name: str, path: str, size: Pair, found: Sequence[Found]) -> None:
        """Takes one image and what stands on it."""
        height, width = size
        info = {"id": len(self._images), "file_name": name, "height": height, "width": width}
        objects = []
        for number, one in enumerate(found, start=1):
            reason = self._fault(one, height, width)
            if reason:
                self.faults.add(*reason)
                continue
            self._names[one.name] = None
            box = one.box if one.box is not None else _around(one.shape)
            x1, y1, x2, y2 = (float(v) for v in box)
            objects.append(
                {
                    "id": number,
                    "category_id": one.name,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(one.crowd),
                    "segmentation": None if segmentations.is_empty(one.shape) else one.shape,
                }
            )
        self._images.append((info, path, objects))

    def _fault(self, one: Found, height: int, width: int) -> tuple[str, str, str] | None:
        """``(kind, where, reason)`` why an object's values are of no use, or None."""
        if not isinstance(one.name, str) or not one.name.strip():
            return "object without a class", one.where, f"its class is {short(one.name)}, not a text"
        if one.box is not None and not is_box(one.box):
            return "object with unusable values", one.where, f"its box is {short(list(one.box))}"
        there = not segmentations.is_empty(one.shape)
        if one.box is None and not there:
            return "object with unusable values", one.where, "it has neither a box nor a polygon"
        if there and (self.masks or one.box is None):
            reason = segmentations.fault(one.shape, height, width)
            if reason:
                return "object with a damaged segmentation", one.where, reason
        return None

    def index(self, names: Sequence[str] | None = None) -> DatasetIndex:
        """The index of all images that were added.

        Args:
            names: the classes that the source lists, in its order; None: those that occur, sorted.
        """
        known = sorted(self._names) if names is None else list(names)
        class_names = select_classes(known, self._classes, self.source)
        label_of = {name: label for label, name in enumerate(class_names)}

        def records() -> Iterator[Record]:
            for info, path, objects in self._images:
                others = sum(one["category_id"] not in label_of for one in objects)
                if others:
                    what = "object of a class that is not asked for"
                    self.skips.add(what, info["file_name"], others)
                yield make_record(info, path, objects, label_of, self.masks, self.skips)

        return DatasetIndex(
            name=str(self.source),
            class_names=class_names,
            category_ids=list(range(1, len(class_names) + 1)),
            records=records(),
            skips=self.skips,
            has_masks=self.masks,
        )


def is_side(value: Any) -> bool:
    """Whether a value is a number of pixels that an image can have."""
    return type(value) in (int, float) and 0 < value <= MAX_SIDE and value == int(value)


def is_box(box: Any) -> bool:
    """Whether a box is four finite numbers of a sensible size."""
    return len(box) == 4 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and -FAR < v < FAR for v in box
    )


def number(text: Any, what: str) -> float:
    """A finite number out of a file.

    Raises:
        DataError: it is none; ``what`` (the name of the value) stands in the message.
    """
    value = math.nan
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value = float(text) if -1e300 < text < 1e300 else math.nan
    elif isinstance(text, str) and "_" not in text:
        try:
            value = float(text)
        except ValueError:
            pass
    if not -1e12 < value < 1e12:
        raise DataError(f"{what} is {short(text)}, not a number")
    return value


def turned(corners: Sequence[Sequence[float]], center: Sequence[float], degrees: float) -> list[float]:
    """Corners ``[(x, y), ...]`` turned clockwise around a point: ``[x, y, x, y, ...]``."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    flat: list[float] = []
    for x, y in corners:
        dx, dy = x - center[0], y - center[1]
        flat += [center[0] + dx * cos - dy * sin, center[1] + dx * sin + dy * cos]
    return flat


def ellipse(
    center: Sequence[float], radii: Sequence[float], degrees: float = 0.0, corners: int = 64
) -> list[float]:
    """An ellipse as a polygon ``[x, y, ...]`` of so many corners, turned clockwise."""
    steps = [2 * math.pi * i / corners for i in range(corners)]
    points = [(center[0] + radii[0] * math.cos(a), center[1] + radii[1] * math.sin(a)) for a in steps]
    return turned(points, center, degrees)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[tuple[float, float]]:
    """The corners of a box, clockwise from the upper left one."""
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _around(shape: Any) -> list[float]:
    """The box ``[x1, y1, x2, y2]`` around a segmentation that passed its checks."""
    from kdet.data import masks

    if isinstance(shape, list):
        x, y, w, h = segmentations.bounds(shape)
    else:
        x, y, w, h = masks.bounds(shape)
    return [x, y, x + w, y + h]
