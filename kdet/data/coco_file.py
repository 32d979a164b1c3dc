"""A COCO annotation file as it was written: parsed, and every entry held against what it should be.

What cannot be used is an error that names file and entry, or with ``on_corrupt="skip"`` left out and counted.
"""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from kdet.data import files, segmentations
from kdet.data.index import Faults
from kdet.errors import DataError, short
from kdet.typing import Pair, PathLike

MAX_SIDE = 2**20
_NUMBERS = (int, float)
FAR = 1e7  # no coordinate of a box lies beyond it


class CocoFile:
    """One annotation file.

    Attributes:
        images: list of its usable ``images``; ``id``, ``height`` and ``width`` are whole numbers.
        names: ``{category id: name}`` in the file's order.
        categories: its list of ``categories``.
        roots: ids of categories that only head others (Roboflow writes one): the ``supercategory`` of others,
            themselves below "none".
        annotations: ``{image id: list}`` of its usable annotations, in the file's order. Their ids and flags
            are of the right kind; boxes may still be missing or of no use (see :func:`is_box`).

    Args:
        path: of the JSON file.
        faults: ``Faults``, which raises or counts.
        masks: check the segmentations too.

    Raises:
        MissingFile, DataError: naming the file, the entry and its value.
    """

    def __init__(self, path: PathLike, faults: Faults, masks: bool = False) -> None:
        self.path, self._faults = path, faults
        with without_collection():
            content = files.read_json(path, "annotation file", once=("images", "annotations", "categories"))
            self._check_form(content)
            self.categories = content["categories"]
            self.names = self._categories(content)
            self.roots = roots(content["categories"])
            self.images = self._images(content["images"])
            self.annotations = self._group(content.get("annotations") or [])
            if masks:
                self._check_segmentations()

    def _check_form(self, content: Any) -> None:
        form = {"images": True, "categories": True, "annotations": False}
        for key, required in form.items():
            value = content.get(key) if isinstance(content, dict) else None
            if value is None and not required:
                continue
            if not isinstance(value, list):
                raise DataError(f"{self.path} is not a COCO annotation file: it has no list {key!r}.")
            for entry in value:
                if not isinstance(entry, dict):
                    raise DataError(f"{self.path}: an entry of {key!r} is no mapping but {short(entry)}.")
        for key, fields in (("images", ("id", "height", "width")), ("categories", ("id", "name"))):
            for entry in content[key]:
                absent = [f for f in fields if f not in entry]
                if key == "images" and "file_name" not in entry and "coco_url" not in entry:
                    absent.insert(1, "file_name")
                if absent:
                    raise DataError(f"{self.path}: an entry of {key!r} lacks {absent}: {short(entry)}.")

    def _categories(self, content: dict[str, Any]) -> dict[int, str]:
        return category_names(self.path, content["categories"])

    def _images(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        usable, seen = [], set()
        for entry in entries:
            reason = image_fault(entry)
            if reason:
                label = f"image {short(entry.get('file_name', entry['id']))}"
                self._faults.add("unusable entry of 'images'", f"{self.path}: {label}", reason)
                continue
            entry = {**entry, **{key: int(entry[key]) for key in ("id", "height", "width")}}
            if "file_name" not in entry:  # LVIS v1
                entry["file_name"] = "/".join(entry["coco_url"].split("/")[-2:])
            if entry["id"] in seen:
                raise DataError(
                    f"{self.path}: two entries of 'images' have the same id {entry['id']}; number them anew."
                )
            seen.add(entry["id"])
            usable.append(entry)
        return usable

    def _group(self, entries: list[dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
        """Annotations per image id; those that belong nowhere are counted."""
        groups: dict[Any, list[Any]] = {image["id"]: [] for image in self.images}
        seen: set[Any] = set()
        names, skips = self.names, self._faults.skips
        for annotation in entries:
            reason = annotation_fault(annotation)
            number = annotation.get("id")
            if reason:
                label = f"annotation {short(number)} of image id {short(annotation.get('image_id'))}"
                self._faults.add("unusable annotation", f"{self.path}: {label}", reason)
                continue
            if number is not None:
                if number in seen:
                    raise DataError(f"{self.path}: two annotations have the id {number}; number them anew.")
                seen.add(number)
            if annotation["image_id"] not in groups:
                skips.add("annotation of an image that is not listed", f"annotation {number}")
            elif annotation["category_id"] not in names:
                skips.add("annotation of an unknown category id", f"annotation {number}")
            else:
                groups[annotation["image_id"]].append(annotation)
        return groups

    def _check_segmentations(self) -> None:
        """Leaves out annotations whose segmentation is wrong; one that is empty becomes None."""
        owners, shapes, sizes = [], [], []
        for image in self.images:
            size = image["height"], image["width"]
            for annotation in self.annotations[image["id"]]:
                shape = annotation.get("segmentation")
                if segmentations.is_empty(shape):
                    annotation["segmentation"] = None
                else:
                    owners.append((image, annotation))
                    shapes.append(shape)
                    sizes.append(size)
        for position, reason in segmentations.faults(shapes, sizes).items():
            image, annotation = owners[position]
            label = f"annotation {annotation.get('id')} of image {image['file_name']}"
            self._faults.add("object with a damaged segmentation", f"{self.path}: {label}", reason)
            self.annotations[image["id"]] = [a for a in self.annotations[image["id"]] if a is not annotation]


def category_names(path: PathLike, categories: list[dict[str, Any]]) -> dict[int, str]:
    """``{id: name}`` of a list of ``categories``, each of which has both.

    Raises:
        DataError: naming ``path`` and the category.
    """
    names: dict[int, str] = {}
    if not categories:
        raise DataError(f"{path} lists no category; name at least one under 'categories'.")
    for entry in categories:
        number, name = entry["id"], entry["name"]
        if not _is_id(number):
            raise DataError(
                f"{path}: the category {short(name)} has the id {short(number)}; "
                "ids are whole numbers from 0 on."
            )
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{path}: the category with id {number} has the name {short(name)}; give it a text."
            )
        if number in names:
            raise DataError(f"{path}: two categories have the id {number}; number them anew.")
        names[int(number)] = name
    if len(set(names.values())) < len(names):
        raise DataError(f"{path}: two categories have the same name; join or rename them.")
    return names


def derived_box(annotation: dict[str, Any]) -> list[float] | None:
    """The box ``[x, y, w, h]`` around the polygons of an annotation that has none itself."""
    polygons = annotation.get("segmentation")
    if segmentations.is_empty(polygons) or not isinstance(polygons, list):
        return None
    return None if segmentations.fault(polygons, 1, 2**20) else segmentations.bounds(polygons)


def drop_damaged_masks(annotations: list[dict[str, Any]], sizes: dict[int, Pair]) -> None:
    """Sets a segmentation that cannot be used to None; ``sizes`` holds the (h, w) of every image id."""
    there = [a for a in annotations if not segmentations.is_empty(a.get("segmentation"))]
    shapes = [a["segmentation"] for a in there]
    for position in segmentations.faults(shapes, [sizes[a["image_id"]] for a in there]):
        there[position]["segmentation"] = None


def roots(categories: list[dict[str, Any]]) -> set[int]:
    """Ids of the categories that only head others; see :class:`CocoFile`."""
    above = {c.get("supercategory") for c in categories if isinstance(c.get("supercategory"), str)}
    return {c["id"] for c in categories if c.get("supercategory") == "none" and c["name"] in above}


def is_box(box: Any) -> bool:
    """Whether ``box`` is a list of four finite numbers of a sensible size."""
    if type(box) is not list or len(box) != 4:
        return False
    for value in box:
        if type(value) not in _NUMBERS or not -FAR < value < FAR:  # NaN is in no interval
            return False
    return True


def _is_id(value: object) -> bool:
    """A whole number from 0 on that fits into 63 bits (``1.0`` too, as some tools write it)."""
    if type(value) is float:
        return 0 <= value < 2**53 and value == int(value)
    return type(value) is int and 0 <= value < 2**63


def image_fault(entry: dict[str, Any]) -> str | None:
    """Why an entry of ``images`` is of no use, or None."""
    if not _is_id(entry["id"]):
        return f"its id is {short(entry['id'])}; ids are whole numbers from 0 on"
    key = "file_name" if "file_name" in entry else "coco_url"
    if not isinstance(entry[key], str) or not entry[key].strip():
        return f"its {key} is {short(entry[key])}, not a text"
    for key in ("height", "width"):
        if not _is_id(entry[key]) or not 0 < entry[key] <= MAX_SIDE:
            return f"its {key} is {short(entry[key])}, not a number of pixels from 1 to {MAX_SIDE}"
    return None


_FLAGS = (0, 1, None)


def annotation_fault(annotation: dict[str, Any]) -> str | None:
    """Why the ids and flags of an annotation are of no use, or None. On the fast path of every reader."""
    get = annotation.get
    image, category, number = get("image_id"), get("category_id"), get("id")
    if type(image) is not int and not _is_id(image):
        return f"its image_id is {short(image)}, not a whole number"
    if type(category) is not int and not _is_id(category):
        return f"its category_id is {short(category)}, not a whole number"
    if type(number) is not int and number is not None and not isinstance(number, str) and not _is_id(number):
        return f"its id is {short(number)}, neither a number nor a text"
    for key in ("iscrowd", "ignore"):
        flag = get(key)
        if type(flag) in (str, list, dict) or flag not in _FLAGS:
            return f"its {key} is {short(flag)}, not 0 or 1"
    area = get("area")
    if area is not None and not (type(area) in (int, float) and -1e15 < area < 1e15):
        return f"its area is {short(area)}, not a number"
    return None


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Without garbage collection: parsing makes millions of objects that all stay."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
