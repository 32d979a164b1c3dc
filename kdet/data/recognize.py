"""Data sets as people name them: a file or a folder, whose format is found out."""

import os
from typing import Any

from kdet import registry
from kdet.data.layouts import ALL, DataSets
from kdet.errors import DataError, MissingFile, short, suggest
from kdet.typing import PathLike

FORMATS = {
    "coco": "CocoReader",
    "yolo": "YoloReader",
    "voc": "VocReader",
    "tfrecord": "TFRecordReader",
    "labelme": "LabelMeReader",
    "cvat": "CvatReader",
    "labelstudio": "LabelStudioReader",
    "openimages": "OpenImagesReader",
    "cityscapes": "CityscapesReader",
    "widerface": "WiderFaceReader",
    "crowdhuman": "CrowdHumanReader",
}


def reader_of(name: str) -> str:
    """The type of the reader that a format's short name, or the type itself, means.

    Raises:
        DataError: there is none; with the nearest names.
    """
    known = registry.names("Reader")
    found = FORMATS.get(name.lower().replace("-", "").replace("_", ""), name)
    if found not in known:
        raise DataError(f"There is no format {name!r}. {suggest(name, [*FORMATS, *known])}")
    return found


def data_sets(path: PathLike, format: str | None = None, images: PathLike | None = None) -> DataSets:
    """The data sets in a file or folder: for each split the mapping that a recipe has under ``data``.

    Args:
        path: a ``data.yaml`` or the folder of a YOLO data set, a COCO JSON, a VOC folder or one of its
            splits, an export of CVAT, Label Studio or LabelMe, Open Images' CSV, TFRecord files ... Folders
            may hold several splits.
        format: short name of the format (``FORMATS``) or type of a reader; None: found out.
        images: folder of the images, where it is not beside the annotations.

    Returns:
        ``{"train": {"type": ..., "annotations": ..., "images": ...}, "val": ...}``; a single data set whose
        name says no split is "all".

    Raises:
        MissingFile, DataError: there is nothing, or nothing of a known format, or of several.

    Example:
        >>> kdet.data.data_sets("bccd_yolo")["val"]
        {'type': 'YoloReader', 'annotations': 'bccd_yolo/data.yaml', 'split': 'val'}
    """
    place = os.fspath(path)
    types = [reader_of(format)] if format else _readers()
    if not os.path.exists(place) and "*" not in place:
        raise MissingFile(f"The data set {short(str(place))[1:-1]} does not exist.")
    found = {name: sets for name in types if (sets := registry.get(name).data_sets(place))}
    if not found and format:
        raise DataError(f"{place} holds no data set of the format {format}.")
    if not found:
        raise DataError(
            f"{place} holds no data set of a format that kdet recognizes ({', '.join(FORMATS)}). Name it "
            "with --from FORMAT (in a recipe: type), and the annotation file itself in the place of a folder."
        )
    if len(found) > 1:
        names = [short for short, name in FORMATS.items() if name in found] or list(found)
        raise DataError(f"{place} could be {' or '.join(names)}: say which with --from FORMAT.")
    ((name, sets),) = found.items()
    more: dict[str, Any] = {} if images is None else {"images": os.fspath(images)}
    return {split: {"type": name, **spec, **more} for split, spec in sets.items()}


def one_data_set(path: PathLike, split: str | None = None, **options: Any) -> dict[str, Any]:
    """The only data set of a file or folder, or that of a split; ``options`` as for :func:`data_sets`.

    Raises:
        DataError: there are several and none was named, or not the one that was.
    """
    sets = data_sets(path, **options)
    if split is None and len(sets) == 1:
        return next(iter(sets.values()))
    if split is None or split not in sets:
        wanted = "it holds several" if split is None else f"it has no split {split!r}"
        raise DataError(f"{path}: {wanted}; there is {', '.join(sets)}.")
    return sets[split]


def _readers() -> list[str]:
    """All readers; those of other people first."""
    names = registry.names("Reader")
    return sorted(names, key=lambda name: name in FORMATS.values())


__all__ = ["ALL", "FORMATS", "data_sets", "one_data_set", "reader_of"]
