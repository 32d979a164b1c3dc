"""The ground truth of an index: columns for COCO's protocol, and a COCO dict for whoever needs one."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdet.data.coco_builder import BOXED, CROWD, DERIVED
from kdet.data.coco_table import read_table
from kdet.data.index import DatasetIndex, Faults, Skips
from kdet.evaluation.columns import Columns
from kdet.typing import Array


class Truth(Mapping[str, Any]):
    """``index.to_coco()``, made when it is asked for.

    Args:
        index: the data set.
    """

    def __init__(self, index: DatasetIndex) -> None:
        self.index = index

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        return self.index.to_coco()

    def __getitem__(self, key: str) -> Any:
        if key == "categories" and not self.index.coco_file:
            pairs = zip(self.index.category_ids, self.index.class_names, strict=True)
            return [{"id": number, "name": name} for number, name in pairs]
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("images", "annotations", "categories"))

    def __len__(self) -> int:
        return 3

    @property
    def names(self) -> dict[int, str]:
        """``{category id: name}``."""
        return dict(zip(self.index.category_ids, self.index.class_names, strict=True))

    def all_have_masks(self) -> bool:
        """Whether the columns know that every object has a segmentation."""
        masked = self.columns(masks=True)
        return masked is not None and len(masked) == len(self.columns(masks=False) or ())

    def columns(self, masks: bool) -> Columns | None:
        """The objects and crowds; None where only the dict has them.

        Args:
            masks: with segmentations in the place of boxes; objects without one are left out.
        """
        index = self.index
        if index.coco_file and (index.has_masks or not masks):
            return _of_file(index, masks)
        if index.coco_file or index.instance_maps or index.has_masks:
            return None
        return None if masks else _of_records(index)


def _of_file(index: DatasetIndex, masks: bool) -> Columns:
    """As ``to_coco`` has them: all that the file says of these images and classes."""
    assert index.coco_file is not None
    table = read_table(index.coco_file, index.has_masks, Faults(Skips(), "skip"))
    numbers = np.array([int(category["id"]) for category in table.categories], np.int64)
    image = np.repeat(table.image_id, np.diff(table.splits))
    category = numbers[table.category]
    keep = (table.flags & BOXED > 0) & (table.flags & DERIVED == 0)
    keep &= np.isin(image, index.records.image_id) & np.isin(category, index.category_ids)
    if masks and table.shapes is not None:
        keep &= table.shapes.lengths > 0
    rows = np.flatnonzero(keep)
    boxes = table.boxes[rows]
    areas = table.areas[rows]
    return Columns(
        image=image[rows],
        category=category[rows],
        boxes=None if masks else boxes,
        shapes=table.shapes.take(rows) if masks and table.shapes is not None else None,
        areas=np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        crowd=table.flags[rows] & CROWD > 0,
    )


def _of_records(index: DatasetIndex) -> Columns:
    records = index.records
    ids = np.array(index.category_ids, np.int64)
    kinds = [records.objects.compact(), records.ignored.compact()]
    owners = np.concatenate([kind.owners for kind in kinds])
    order = np.argsort(owners, kind="stable")
    corners: Array = np.concatenate([kind.boxes for kind in kinds]).astype(np.float64)[order]
    sides = corners[:, 2:] - corners[:, :2]
    return Columns(
        image=records.image_id[owners[order]],
        category=ids[np.concatenate([kind.labels for kind in kinds])[order]],
        boxes=np.concatenate([corners[:, :2], sides], axis=1),
        areas=sides[:, 0] * sides[:, 1],
        crowd=np.repeat([False, True], [len(kind.labels) for kind in kinds])[order],
    )
