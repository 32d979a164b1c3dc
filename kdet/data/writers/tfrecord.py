"""TFRecord: ``<split>-00000-of-00001.tfrecord`` ... and ``<split>.json``."""

import sys

from kdet.data.index import DatasetIndex
from kdet.data.tfrecord import write_tfrecords
from kdet.data.writers.base import Writer
from kdet.registry import register
from kdet.settings import Count
from kdet.typing import PathLike


@register
class TFRecordWriter(Writer):
    """Model Garden's TFExample layout; see :func:`kdet.data.write_tfrecords`.

    Args:
        folder, class_names, link: see :class:`Writer`; images are always copied.
        shards: number of files of every split.
    """

    def __init__(
        self, folder: PathLike, class_names: list[str], link: bool = False, shards: Count = 1
    ) -> None:
        super().__init__(folder, class_names, link)
        self.shards = shards

    def add(self, split: str, index: DatasetIndex) -> None:
        write_tfrecords(index, str(self.folder / split), self.shards, sys.stderr.isatty())
