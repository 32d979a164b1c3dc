"""Reader of YOLO text files: a ``data.yaml`` with folders of images, and a text file of objects beside each.

Of ``.../images/train/a.jpg`` the objects stand in ``.../labels/train/a.txt``, one a line: the class as a
number from 0 on, then the box as ``center_x center_y width height``, or a polygon ``x1 y1 x2 y2 x3 y3 ...``,
all divided by the width and height of the image.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from kdet import yaml_loader
from kdet.data import files
from kdet.data.gathering import Found, Gathering
from kdet.data.index import DatasetIndex
from kdet.errors import ConfigError, DataError, MissingFile, short
from kdet.typing import PathLike

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
SLACK = 0.01  # coordinates lie within 0..1, but for rounding
MAX_CLASSES = 100_000


@dataclasses.dataclass(frozen=True)
class YoloFile:
    """What a ``data.yaml`` says.

    Attributes:
        path: of the file.
        root: folder that its paths start from.
        names: of the classes, by label.
        splits: for "train", "val" and "test", where given: folders of images, or text files that list them.
        keypoints: objects have keypoints behind their box, which are passed over.
    """

    path: str
    root: str
    names: list[str]
    splits: dict[str, list[str]]
    keypoints: bool


def read_yolo(
    annotations: PathLike,
    images: PathLike | None = None,
    *,
    split: str = "train",
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Reads one split of a YOLO data set.

    An image without a text file has no objects. A polygon gives the mask and the box around it; with
    ``masks`` a line with a box alone is left out and counted. A line that stands twice counts once. Where
    ``data.yaml`` has ``kpt_shape``, keypoints are passed over.

    Args:
        annotations: the ``data.yaml``, or the folder that holds it. Its paths start from its ``path``, which
            may be relative to the file or to the working directory, or from the folder of the file.
        images: folder that the paths start from instead.
        split: "train", "val" or "test".
        classes: names to use, in label order; None takes all of ``names``.
        masks: keep the polygons.
        on_missing: "error" or "skip", for images that a list names and that are not there.
        on_corrupt: "error" or "skip", for lines with wrong values and images that cannot be read.
        allow_outside: a list may name images outside of the root.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the paths.

    Raises:
        MissingFile, DataError: naming the file, the line, the value and what to do.
    """
    content = read_yaml(annotations, images)
    if split not in SPLITS:
        raise DataError(f"data.split must be one of {', '.join(SPLITS)}; got {short(split)}.")
    if split not in content.splits:
        there = ", ".join(content.splits) or "none"
        raise DataError(f"{content.path} names no images under {split!r} (data.split); it names {there}.")
    gathering = Gathering(
        f"{content.path} ({split})",
        content.root,
        classes=classes,
        masks=masks,
        on_missing=on_missing,
        on_corrupt=on_corrupt,
        allow_outside=True,  # folders are the user's word; what lists name is held against the root below
    )
    labelled = 0
    for path in _images(content, split, gathering, allow_outside):
        size = gathering.size(path)
        if size is None:
            continue
        labels = label_file(path)
        found = []
        if os.path.isfile(labels):
            labelled += 1
            found = _objects(labels, content, size, gathering)
        gathering.add(_shown(path, content.root), path, size, found)
    index = gathering.index(content.names)
    if len(index) and not labelled:
        first = index.records[0].source
        raise DataError(
            f"None of the {len(index)} images of {gathering.source} has a text file of objects; that of "
            f"{first} would be {label_file(first)}."
        )
    return index


def read_yaml(annotations: PathLike, images: PathLike | None = None) -> YoloFile:
    """What a ``data.yaml`` (or the one in a folder) says, checked; arguments as for :func:`read_yolo`."""
    path = os.fspath(annotations)
    if os.path.isdir(path):
        inside = [os.path.join(path, name) for name in ("data.yaml", "data.yml", "dataset.yaml")]
        path = next(filter(os.path.isfile, inside), inside[0])
    text = files.read_text(path, "YOLO data file (data.annotations)", yaml_loader.MAX_TEXT)
    try:
        content = yaml_loader.load(text, path)
    except ConfigError as error:
        raise DataError(str(error)) from error
    if not isinstance(content, dict) or not {"names", "nc"} & set(content):
        raise DataError(f"{path} is no data file of YOLO: it has no list of 'names'.")
    splits = {}
    for split, keys in SPLITS.items():
        given = next((content[key] for key in keys if content.get(key) is not None), None)
        if given is not None:
            entries = given if isinstance(given, list) else [given]
            wrong = [e for e in entries if not isinstance(e, str) or not e or "\0" in e]
            if wrong or not entries:
                raise DataError(f"{path}: {split!r} must name folders of images; got {short(given)}.")
            splits[split] = entries
    root = os.fspath(images) if images else _root(path, content.get("path"))
    return YoloFile(path, root, _names(path, content), splits, "kpt_shape" in content)


def _root(path: str, given: Any) -> str:
    beside = os.path.dirname(path) or "."
    if given is None:
        return beside
    if not isinstance(given, str) or "\0" in given:
        raise DataError(f"{path}: 'path' must be a folder; got {short(given)}.")
    for root in (os.path.join(beside, given), given):
        if os.path.isdir(root):
            return os.path.normpath(root)
    return beside  # the file was moved together with its images


def _names(path: str, content: dict[Any, Any]) -> list[str]:
    names, count = content.get("names"), content.get("nc")
    if count is not None and (type(count) is not int or not 0 < count <= MAX_CLASSES):
        raise DataError(f"{path}: 'nc' must be a number of classes; got {short(count)}.")
    if names is None:
        return [f"class_{label}" for label in range(count or 0)]
    if isinstance(names, dict):
        labels = list(names)
        if any(type(label) is not int for label in labels) or sorted(labels) != list(range(len(labels))):
            raise DataError(f"{path}: 'names' must number the classes 0, 1, 2 ...; got {short(labels)}.")
        names = [names[label] for label in range(len(labels))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: 'names' must list the classes; got {short(names)}.")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{path}: 'names' holds {short(name)}, which is no text (a bare yes, no, on or off is a "
                "truth value in YAML, a bare 1 a number): put it in quotes."
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: 'names' has {twice!r} twice; join or rename the classes.")
    if count is not None and count != len(names):
        raise DataError(f"{path}: 'nc' is {count}, but 'names' lists {len(names)} classes.")
    return names


def _images(content: YoloFile, split: str, gathering: Gathering, allow_outside: bool) -> list[str]:
    """Paths of the images of a split, each once."""
    found: dict[str, None] = {}
    for entry in content.splits[split]:
        place = _place(content.root, entry)
        if place is None:
            raise MissingFile(
                f"{content.path}: {split!r} names {entry}, which is no folder in {content.root}. Set 'path' "
                "in the file, or data.images, to the folder that it starts from."
            )
        if os.path.isdir(place):
            found.update(dict.fromkeys(_in_folder(place)))
        else:
            found.update(dict.fromkeys(_in_list(place, content.root, gathering, allow_outside)))
    if not found:
        raise DataError(
            f"{content.path}: there is no image ({', '.join(ENDINGS)}) in {content.splits[split]} ({split})."
        )
    return list(found)


def _place(root: str, entry: str) -> str | None:
    """The folder or list that an entry names; exports of Roboflow begin with a ``../`` too much."""
    entries = [entry, entry[3:]] if entry.startswith("../") else [entry]
    places = [os.path.normpath(os.path.join(root, one)) for one in entries]
    # a list is a text file: what else stands there (a device, a pipe) is no list
    good = (p for p in places if os.path.isdir(p) or (p.endswith(".txt") and os.path.isfile(p)))
    return next(good, None)


def _in_folder(folder: str) -> list[str]:
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(root, n) for n in sorted(names) if n.lower().endswith(ENDINGS)]
    return found


def _in_list(path: str, root: str, gathering: Gathering, allow_outside: bool) -> list[str]:
    """The images that a text file lists: relative to the root, or with ``./`` to its own folder."""
    found = []
    inside = os.path.join(os.path.abspath(root), "")
    for line, text in enumerate(files.read_text(path, "list of images", 2**30).splitlines(), start=1):
        name = text.strip()
        if not name:
            continue
        where = f"{path}, line {line}"
        if "\0" in name:
            gathering.faults.add("unusable line of a list", where, f"it holds {short(name)}")
            continue
        base = os.path.dirname(path) if name.startswith("./") else root
        image = os.path.normpath(os.path.join(base, name))
        if not allow_outside and not os.path.abspath(image).startswith(inside):
            reason = f"the image {short(name)} lies outside of {root} (data.allow_outside: true allows it)"
            gathering.faults.add("image name that leads out of the folder", where, reason)
            continue
        there = gathering.find(os.path.relpath(image, root))
        if there is not None:
            found.append(image)
    return found


def label_file(image: str) -> str:
    """The text file of an image: in ``labels`` where the image is below ``images``, else beside it."""
    path = pathlib.PurePath(image)
    parts = list(path.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return os.fspath(pathlib.PurePath(*parts).with_suffix(".txt"))


def _shown(path: str, root: str) -> str:
    """The name of an image: its path below the root, without ``..``."""
    name = os.path.relpath(path, root)
    while name.startswith(os.pardir + os.sep):
        name = name[3:]
    return name.replace(os.sep, "/")


def _objects(path: str, content: YoloFile, size: tuple[int, int], gathering: Gathering) -> list[Found]:
    found, seen = [], set()
    try:
        lines = files.read_text(path, "label file").splitlines()
    except DataError as error:
        gathering.faults.add("unusable label file", path, str(error).rstrip("."))
        return []
    for line, text in enumerate(lines, start=1):
        words = tuple(text.split())
        if not words:
            continue
        where = f"{path}, line {line}"
        if words in seen:
            gathering.skips.add("line that stands twice", where)
            continue
        seen.add(words)
        try:
            found.append(_object(words, where, content, size))
        except DataError as error:
            gathering.faults.add("unusable line", where, str(error))
    return found


def _object(words: Sequence[str], where: str, content: YoloFile, size: tuple[int, int]) -> Found:
    label = int(words[0]) if words[0].isascii() and words[0].isdecimal() and len(words[0]) < 10 else -1
    if not 0 <= label < len(content.names):
        last = len(content.names) - 1
        raise DataError(f"its class is {short(words[0])}, not a number from 0 to {last} (of 'names')")
    if content.keypoints:
        words = words[:5]
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise DataError(
            f"it has {len(words)} values; a box has 5 (class x y w h), a polygon 7, 9, 11 ... (class x y x y "
            "...)"
        )
    values = [_share(word) for word in words[1:]]
    height, width = size
    if len(values) == 4:
        x, y, w, h = values
        box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        return Found(content.names[label], where, box)
    polygon = [v * (height if i % 2 else width) for i, v in enumerate(values)]
    return Found(content.names[label], where, None, [polygon])


def _share(word: str) -> float:
    try:
        value = float(word) if "_" not in word else float("nan")
    except ValueError:
        value = float("nan")
    if not -SLACK <= value <= 1 + SLACK:  # NaN is not
        raise DataError(f"it holds {short(word)}; values are shares of the image's width and height, 0 to 1")
    return value
