"""Writers of data sets by the name of the format; the other side of ``kdet.data.readers``."""

from collections.abc import Mapping
from typing import Any

from kdet import registry
from kdet.data.index import DatasetIndex, Skips
from kdet.data.writers.base import Writer, new_folder
from kdet.data.writers.coco import CocoWriter
from kdet.data.writers.tfrecord import TFRecordWriter
from kdet.data.writers.voc import VocWriter
from kdet.data.writers.yolo import YoloWriter
from kdet.errors import DataError, suggest
from kdet.typing import PathLike

FORMATS = {"coco": "CocoWriter", "yolo": "YoloWriter", "voc": "VocWriter", "tfrecord": "TFRecordWriter"}

__all__ = [
    "FORMATS",
    "CocoWriter",
    "TFRecordWriter",
    "VocWriter",
    "Writer",
    "YoloWriter",
    "write_data_set",
]


def write_data_set(
    splits: Mapping[str, DatasetIndex], folder: PathLike, format: str, link: bool = False, **options: Any
) -> Skips:
    """Writes a data set with all its splits.

    Args:
        splits: an index by the name of its split; all have the same classes.
        folder: a new or empty folder (TFRecord: an interrupted run goes on).
        format: ``coco``, ``yolo``, ``voc``, ``tfrecord``, or the type of a writer of your own.
        link: hard links in the place of copies of the images, where the disk can.
        options: of the writer (``shards`` of TFRecord).

    Returns:
        what the format cannot hold, counted.

    Raises:
        DataError, WriteError: naming the file or the value.

    Example:
        >>> train = kdet.data.read_coco("train.json", "images", masks=True)
        >>> print(kdet.data.write_data_set({"train": train}, "fruits_yolo", "yolo").lines())
    """
    known = registry.names("Writer")
    name = FORMATS.get(format, format)
    if name not in known:
        raise DataError(f"There is no writer for {format!r}. {suggest(format, [*FORMATS, *known])}")
    indexes = list(splits.values())
    names = indexes[0].class_names
    wrong = next((index for index in indexes if index.class_names != names), None)
    if wrong is not None:
        raise DataError(
            f"{wrong.name} has the classes {wrong.class_names}, {indexes[0].name} {names}: give the classes."
        )
    if name != "TFRecordWriter":
        new_folder(folder)
    writer: Writer = registry.get(name)(folder, names, link, **options)
    for split, index in splits.items():
        writer.add(split, index)
    writer.close()
    return writer.losses
