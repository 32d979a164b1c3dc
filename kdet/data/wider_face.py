"""Reader of WIDER FACE's own annotations: ``wider_face_split/wider_face_<split>_bbx_gt.txt``.

Yang et al., 2016, "WIDER FACE: A Face Detection Benchmark". Of every image the file has a line with its name,
one with the number of faces, and a line ``x y w h blur expression illumination invalid occlusion pose`` for
each face (one of zeros where there is none).
"""

import itertools
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from kdet.data import coco
from kdet.data.classes import select_classes
from kdet.data.folders import ImageFolder, missing_image
from kdet.data.index import DatasetIndex, Record, Skips

CLASS = "face"
INVALID = 7  # column of a face's line
ORIENTATION = 0x0112  # EXIF


def read_wider_face(
    annotations: str,
    images: str,
    *,
    classes: list[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
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

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        FileNotFoundError, ValueError: naming the file, the line and what to do.
    """
    if masks:
        raise ValueError("WIDER FACE has no instance masks: set data.masks: false.")
    class_names = select_classes([CLASS], classes, annotations)
    skips, folder = Skips(), ImageFolder(images)
    records: list[Record] = []
    for name, faces in _entries(annotations):
        path = folder.find(name)
        if path is None:
            missing_image(folder, name, annotations, on_missing, skips)
            continue
        width, height = _size(path)
        info = {"id": len(records), "file_name": name, "height": height, "width": width}
        objects = [
            {"bbox": face[:4], "category_id": 1, "iscrowd": int(bool(face[INVALID]))} for face in faces
        ]
        records.append(coco.make_record(info, path, objects, {1: 0}, False, skips))
    return DatasetIndex(
        name=str(annotations), class_names=class_names, category_ids=[1], records=records, skips=skips
    )


def _entries(path) -> Iterator[tuple[str, list[list[float]]]]:
    """``(name, [x, y, w, h, blur, ... of every face])`` of every image."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Annotation file {path} does not exist (data.annotations).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file of WIDER FACE: {error}") from error
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip())
    for number, name in numbered:
        _, count = next(numbered, (number, ""))
        if not count.isdecimal():
            raise ValueError(
                f"{path}, line {number + 1}: the number of faces must follow the name {name}; got {count!r}."
            )
        rows = list(itertools.islice(numbered, max(int(count), 1)))
        if len(rows) < int(count):
            raise ValueError(f"{path} ends within the {count} faces of {name}.")
        faces = [_face(path, *row) for row in rows]
        yield name, faces[: int(count)]


def _face(path, number, line):
    try:
        values = [float(value) for value in line.split()]
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: a face must be ten numbers; got {line!r}.") from error
    if len(values) != 10:
        raise ValueError(f"{path}, line {number}: a face must be ten numbers; got {line!r}.")
    return values


def _size(path):
    """(w, h) of an image as it is shown."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return image.size[::-1] if turned else image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is no readable image: {error}") from error
