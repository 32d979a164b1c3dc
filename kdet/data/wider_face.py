"""Reader of WIDER FACE's own annotations: ``wider_face_split/wider_face_<split>_bbx_gt.txt``.

Yang et al., 2016, "WIDER FACE: A Face Detection Benchmark". Of every image the file has a line with its name,
one with the number of faces, and a line ``x y w h blur expression illumination invalid occlusion pose`` for
each face (one of zeros where there is none).
"""

from collections.abc import Iterator

import numpy as np

from kdet.data import coco, decoding, files
from kdet.data.classes import select_classes
from kdet.data.folders import ImageFolder, find_or_report
from kdet.data.index import DatasetIndex, Faults, Record, Skips
from kdet.errors import DataError, MissingFile, short

CLASS = "face"
COLUMNS, INVALID = 10, 7  # of a face's line; which of them says that it does not count
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")
Numbered = list[tuple[int, str]]  # lines that are not empty, with their numbers


def read_wider_face(
    annotations: str,
    images: str,
    *,
    classes: list[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Read one split of WIDER FACE.

    Faces marked invalid become ignore regions; boxes thinner than a pixel or outside the image are skipped
    and counted.

    Args:
        annotations: the text file.
        images: folder that the names start from, ``WIDER_val/images``.
        classes: ``["face"]`` or None.
        masks: not available in this format; must be False.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for entries and faces with wrong values and images that are none.
        allow_outside: names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        MissingFile, DataError: naming the file, the line and what to do.
    """
    if masks:
        raise DataError("WIDER FACE has no instance masks: set data.masks: false.")
    class_names = select_classes([CLASS], classes, annotations)
    skips, folder = Skips(), ImageFolder(images, allow_outside=allow_outside)
    faults = Faults(skips, on_corrupt)
    records: list[Record] = []
    for name, faces in _entries(annotations, faults):
        path = find_or_report(folder, name, annotations, on_missing, faults)
        if path is None:
            continue
        try:
            height, width = decoding.size_of_file(path)
        except MissingFile:
            raise
        except DataError as error:
            named = "" if path in str(error) else f"{path} "
            faults.add("unusable image", str(annotations), named + str(error).rstrip("."))
            continue
        info = {"id": len(records), "file_name": name, "height": height, "width": width}
        objects = [
            {"bbox": face[:4], "category_id": 1, "iscrowd": int(bool(face[INVALID]))} for face in faces
        ]
        records.append(coco.make_record(info, path, objects, {1: 0}, False, skips))
    return DatasetIndex(
        name=str(annotations), class_names=class_names, category_ids=[1], records=records, skips=skips
    )


def _entries(path: str, faults: Faults) -> Iterator[tuple[str, list[list[float]]]]:
    """``(name, [x, y, w, h, blur, ... of every face])`` of every image."""
    lines = files.read_text(path, "annotation file (data.annotations)").splitlines()
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    place = 0
    while place < len(numbered):
        number, name = numbered[place]
        count = numbered[place + 1][1] if place + 1 < len(numbered) else ""
        reason = _entry_fault(name, count, _next_name(numbered, place + 2) - place - 2)
        if reason:
            faults.add("unusable entry", f"{path}, line {number + 1}", reason)
            place = _next_name(numbered, place + 1)
            continue
        last = place + 2 + max(int(count), 1)
        faces = numbered[place + 2 : last][: int(count)]
        yield name, [values for face in faces for values in _face(path, *face, faults)]
        place = last


def _entry_fault(name: str, count: str, left: int) -> str | None:
    """Why a name and the number of its faces are of no use, or None; ``left`` lines follow up to a name."""
    if not count.isdecimal():
        return f"the number of faces must follow the name {short(name)}; got {short(count)}"
    if len(count) > 9 or max(int(count), 1) > max(left, int(count) == 0):
        return f"the {count[:20]} faces of {short(name)} must follow; {left} lines do"
    return None


def _next_name(numbered: Numbered, place: int) -> int:
    """Where the next line stands that is an image's name."""
    while place < len(numbered) and not numbered[place][1].lower().endswith(ENDINGS):
        place += 1
    return place


def _face(path: str, number: int, line: str, faults: Faults) -> list[list[float]]:
    """The values of one face in a list, or an empty list where they are of no use and that was counted."""
    try:
        values = [float(value) for value in line.split()]
    except ValueError:
        values = []
    if len(values) == COLUMNS and np.isfinite(values).all():
        return [values]
    faults.add("unusable face", f"{path}, line {number}", f"a face must be ten numbers; got {short(line)}")
    return []
