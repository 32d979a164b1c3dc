"""Reader of Open Images' boxes: CSV with a box a line, or the list of its challenge with an image a block.

Krasin et al., 2017, "OpenImages". ``IsGroupOf`` marks a box around several objects: a crowd. The names of the
classes are in a file of their own.
"""

import os
from collections.abc import Sequence

from kdet.data import files
from kdet.data.classes import select_classes
from kdet.data.gathering import Found, Gathering
from kdet.data.index import DatasetIndex
from kdet.data.open_images_classes import class_descriptions_of, csv_rows
from kdet.errors import DataError, short
from kdet.typing import Pair, PathLike

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
GROUP = "IsGroupOf"
# columns of a challenge's list
CHALLENGE = ("LabelName", "XMin", "YMin", "XMax", "YMax", GROUP)


def read_open_images(
    annotations: PathLike,
    images: PathLike | None,
    *,
    class_descriptions: PathLike | None = None,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
    crowds: str = "ignore",
) -> DatasetIndex:
    """Reads the boxes of one split.

    Args:
        annotations: the CSV of boxes, ``...-annotations-bbox.csv``, or a challenge's list of boxes,
            ``challenge-2019-...-detection-bbox.txt``.
        images: folder of the images, ``<ImageID>.jpg``, or what the names in a challenge's list start from.
        class_descriptions: the CSV with the names of the classes; None: the one beside ``annotations``
            (``*class-descriptions*.csv``, ``*label-description*.csv``). Without one the ids (``/m/01g317``)
            are the names.
        classes: names to use, in label order; None takes those of ``class_descriptions`` that occur, in its
            order.
        masks: not available in these files; must be False.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for lines with wrong values and images that cannot be read.
        allow_outside: image names may lead out of the folder.
        crowds: "ignore": a box around several objects is a crowd; "objects": an object like the others, as
            the published detectors were trained.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        MissingFile, DataError: naming the file, the line, its value and what to do.
    """
    if masks:
        raise DataError("Open Images' CSV of boxes has no instance masks: set data.masks: false.")
    challenge = os.fspath(annotations).endswith(".txt")
    names = class_descriptions_of(annotations, class_descriptions, by_number=challenge)
    gathering = Gathering(
        annotations,
        images,
        classes=classes,
        masks=False,
        on_missing=on_missing,
        on_corrupt=on_corrupt,
        allow_outside=allow_outside,
    )
    rows = _challenge_boxes(annotations) if challenge else _boxes_by_image(annotations)
    if not rows:
        raise DataError(f"{annotations} lists no box.")
    used: dict[str, None] = {}
    for image, lines in rows.items():
        name = f"{image}.jpg"
        path = gathering.find(name) if image.strip() else None
        if not image.strip():
            where = f"{annotations}, line {lines[0][0]}" if lines else annotations
            gathering.faults.add("line without an image", str(where), "it has no ImageID")
        size = gathering.size(path) if path is not None else None
        if path is None or size is None:
            continue
        found = []
        for line, row in lines:
            where = f"{annotations}, line {line}"
            try:
                found.append(_object(row, where, size, names, crowds == "ignore"))
                used[found[-1].name] = None
            except DataError as error:
                gathering.faults.add("unusable line", where, str(error))
        gathering.add(name, path, size, found)
    known = [name for name in names.values() if name in used] if names else sorted(used)
    if classes is not None:
        select_classes([*(names.values() if names else used)], classes, annotations)
        known = [*known, *(name for name in classes if name not in used)]
    return gathering.index(known)


def _boxes_by_image(annotations: PathLike) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """``{image: [(line, {column: text}), ...]}`` of a CSV of boxes."""
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in csv_rows(annotations, COLUMNS, "boxes"):
        rows.setdefault(row["ImageID"], []).append((line, row))
    return rows


def _challenge_boxes(annotations: PathLike) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """The same of a challenge's list, whose classes are numbers.

    An image is a block of lines: its name, a line that says nothing of boxes, how many boxes it has, and each
    of these as ``class x1 y1 x2 y2 group``.
    """
    lines = files.read_text(annotations, "list of boxes (data.annotations)").splitlines()
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        count = lines[at + 2].strip() if at + 2 < len(lines) else ""
        first = at + 3
        if not count.isdecimal() or first + int(count) > len(lines):
            raise DataError(
                f"{annotations}, line {at + 3}: expected the number of boxes of {short(lines[at].strip())} "
                f"and a line for each, got {short(count)}."
            )
        found = rows.setdefault(os.path.splitext(lines[at].strip())[0], [])
        for number in range(first, first + int(count)):
            words = lines[number].split()
            if len(words) != len(CHALLENGE):
                raise DataError(
                    f"{annotations}, line {number + 1}: expected 'class x1 y1 x2 y2 group', got "
                    f"{short(lines[number])}."
                )
            found.append((number + 1, dict(zip(CHALLENGE, words))))
        at = first + int(count)
    return rows


def _object(row: dict[str, str], where: str, size: Pair, names: dict[str, str], crowds: bool) -> Found:
    label = row["LabelName"]
    if names and label not in names:
        raise DataError(f"its LabelName {short(label)} is not in the list of class names")
    height, width = size
    sides = [_share(row, key) for key in ("XMin", "YMin", "XMax", "YMax")]
    box = [v * (height if i % 2 else width) for i, v in enumerate(sides)]
    group = row.get(GROUP, "0").strip() or "0"
    if group not in ("0", "1", "-1"):  # -1: nobody looked
        raise DataError(f"its {GROUP} is {short(group)}, not 0 or 1")
    return Found(names.get(label, label), where, box, crowd=crowds and group == "1")


def _share(row: dict[str, str], key: str) -> float:
    try:
        value = float(row[key]) if "_" not in row[key] else float("nan")
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise DataError(f"its {key} is {short(row[key])}, not a share of the image's side (0 to 1)")
    return value
