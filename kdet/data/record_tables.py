"""The objects of a data set as a few tensors, from which a graph takes those of one image."""

import numpy as np
import tensorflow as tf

from kdet.data.records import Records
from kdet.typing import Array


class RecordTables:
    """The records as tensors: flat values and row splits, gathered by image number.

    Args:
        records: all images of a data set.

    Attributes:
        image_id: int64 ``[images]``.
    """

    def __init__(self, records: Records) -> None:
        self.image_id = tf.constant(records.image_id, tf.int64)
        objects, ignored = records.objects.compact(), records.ignored.compact()
        splits = _splits(objects.counts)
        self._tables = {
            "boxes": (tf.constant(objects.boxes), splits),
            "labels": (tf.constant(objects.labels), splits),
            "ignore_boxes": (tf.constant(ignored.boxes), _splits(ignored.counts)),
        }
        if records.proposals is not None and records.proposals[0] is not None:
            no_boxes = np.zeros((0, 4), np.float32)
            found = [no_boxes if rows is None else rows for rows in records.proposals]
            counts = np.array([len(rows) for rows in found])
            self._tables["proposals"] = tf.constant(np.concatenate([no_boxes, *found])), _splits(counts)

    def sample(self, i: tf.Tensor) -> dict[str, tf.Tensor]:
        """Boxes ``[n,4]``, labels ``[n]``, ignore regions and proposals of image ``i``, by their keys."""
        sample = {"proposals": tf.zeros([0, 4])}
        for key, (values, splits) in self._tables.items():
            sample[key] = values[splits[i] : splits[i + 1]]
        return sample


def _splits(counts: Array) -> tf.Tensor:
    return tf.constant(np.concatenate([[0], np.cumsum(counts)]), tf.int64)
