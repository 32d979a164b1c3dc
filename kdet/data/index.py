"""What every reader produces: the list of images with their objects, and what was left out."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdet.data.folders import read_file
from kdet.errors import DataError
from kdet.typing import PathLike

logger = logging.getLogger("kdet.data")


@dataclasses.dataclass
class Record:
    """One image and its objects, in pixels of the image on disk.

    ``boxes [n,4]`` float32 xyxy, ``labels [n]`` int32; ``ignore_boxes [m,4]``, ``ignore_labels [m]``:
    crowds and difficult objects. ``segmentations``: per object a COCO polygon list, an RLE dict or PNG
    bytes, or a key that the index's ``read_masks`` understands (None: no masks). ``source`` is a file path,
    or whatever the index's ``read`` understands.
    """

    image_id: int
    name: str
    source: Any
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    ignore_boxes: np.ndarray
    ignore_labels: np.ndarray
    segmentations: list[Any] | None = None
    ignore_segmentations: list[Any] | None = None
    proposals: np.ndarray | None = None  # [p,4] float32, pre-computed
    semantic: str | None = None  # path of its class map
    empty: bool = False  # no object of the wanted classes is annotated at all


class Skips:
    """Counts what was left out and why, with a few examples of each."""

    def __init__(self, examples: int = 3) -> None:
        self._examples = examples
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[Any]] = {}

    def add(self, reason: str, example: object, count: int = 1) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + count
        shown = self.examples.setdefault(reason, [])
        if len(shown) < self._examples:
            shown.append(str(example))

    def update(self, other: "Skips") -> None:
        for reason, count in other.counts.items():
            for example in other.examples[reason]:
                self.add(reason, example, 0)
            self.counts[reason] = self.counts.get(reason, 0) + count

    def lines(self) -> list[str]:
        return [
            f"skipped {count} x {reason} (e.g. {', '.join(self.examples[reason])})"
            for reason, count in self.counts.items()
        ]


class Faults:
    """What becomes of an unusable entry: an error, or with ``on_corrupt="skip"`` a counted skip."""

    def __init__(self, skips: Skips, on_corrupt: str = "error") -> None:
        self.skips, self._raises = skips, on_corrupt != "skip"

    def add(self, kind: str, where: str, reason: str) -> None:
        """``kind`` is counted; ``where`` (file and entry) and ``reason`` (with the value) are for people."""
        if self._raises:
            raise DataError(f"{where}: {reason}. Repair it, or set data.on_corrupt: skip to leave it out.")
        self.skips.add(kind, f"{where}: {reason}")


class DatasetIndex:
    """The images of a dataset.

    Attributes:
        class_names: list; a label is a position in it.
        category_ids: the file's own id of every class (COCO ``category_id``; 1.. where it has none).
        records: list of ``Record``.
        skips: ``Skips``.
        has_masks: whether the objects carry segmentations.
        coco_file: the annotation file that the index is of, if it is one COCO file.
        instance_maps: ``cityscapes.InstanceMaps`` of the images, if it is one split of Cityscapes.
        difficulty_lists: folder of WIDER FACE's lists of easy, medium and hard faces, if there is one.
    """

    def __init__(
        self,
        *,
        name: str,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        records: list[Record],
        skips: Skips,
        has_masks: bool = False,
        read: Callable[[Record], bytes] | None = None,
        read_masks: Callable[[Record, list[Any]], list[Any]] | None = None,
        coco_file: PathLike | None = None,
        instance_maps: Any = None,
        difficulty_lists: str | None = None,
    ) -> None:
        self.name = name
        self.class_names = list(class_names)
        self.category_ids = list(category_ids)
        self.records = records
        self.skips = skips
        self.has_masks = has_masks
        self.read = read or read_file
        self.read_masks = read_masks
        self.coco_file = coco_file
        self.instance_maps = instance_maps
        self.difficulty_lists = difficulty_lists

    def __len__(self) -> int:
        return len(self.records)

    def segmentations(self, record: Record, ignored: bool = False) -> list[Any]:
        """The segmentations of a record's objects (or ignore regions) in their order; see ``Record``."""
        keys = (record.ignore_segmentations if ignored else record.segmentations) or []
        return self.read_masks(record, keys) if self.read_masks else keys

    def report(self) -> str:
        """A few lines: how much there is, and what was skipped and why."""
        objects = sum(len(r.labels) for r in self.records)
        ignored = sum(len(r.ignore_boxes) for r in self.records)
        head = (
            f"{self.name}: {len(self)} images, {objects} objects of {len(self.class_names)} classes, "
            f"{ignored} ignore regions"
        )
        return "\n  ".join([head, *self.skips.lines()])

    def first(self, count: int) -> "DatasetIndex":
        """The first ``count`` images only."""
        return self._with_records(self.records[:count])

    def counts(self) -> dict[str, int]:
        """Objects per class: ``{name: count}``."""
        totals = np.zeros(len(self.class_names), np.int64)
        for record in self.records:
            np.add.at(totals, record.labels, 1)
        return dict(zip(self.class_names, totals.tolist(), strict=True))

    def repeats(self, threshold: float) -> np.ndarray:
        """How often each image comes per epoch so that rare classes are seen more often: int ``[n]``.

        An image's factor is that of its rarest class, ``sqrt(threshold / share of images with it)``
        rounded up (Gupta et al., 2019, "LVIS", section 5).
        """
        present = [np.union1d(r.labels, r.ignore_labels).astype(int) for r in self.records]
        count = np.zeros(len(self.class_names))
        for labels in present:
            count[labels] += 1
        share = np.maximum(count, 1) / max(len(self.records), 1)
        factors = np.maximum(np.sqrt(threshold / share), 1.0)
        return np.array([int(np.ceil(factors[labels].max(initial=1.0))) for labels in present])

    def filtered(
        self, *, empty: bool, min_size: float, min_box: float | None = None, ignore_below: float | None = None
    ) -> "DatasetIndex":
        """Without images that have no object (``empty``) or a side below ``min_size``, and without objects
        that have a side of ``min_box`` or less (images of such only go too): counted skips. Objects with a
        side below ``ignore_below`` become ignore regions, and their images stay."""
        kept, skips = [], self.skips
        for record in self.records:
            if min_box and len(record.labels):
                record = _without_small(record, min_box, skips)
            if record is not None and ignore_below:
                record = _small_ignored(record, ignore_below, skips)
            if record is None:
                continue
            if empty and record.empty:
                skips.add("image without objects (filter_empty)", record.name)
            elif min(record.height, record.width) < min_size:
                skips.add(f"image with a side below {min_size} pixels (min_size)", record.name)
            else:
                kept.append(record)
        return self._with_records(kept)

    def to_coco(self, masks: bool = True) -> dict[str, Any]:
        """A COCO ground-truth dict of these images and classes, for any evaluator that takes one.

        Of a COCO file it is the file's own content, with all its annotations, areas and crowds, and with what
        it says of images and categories beyond COCO (LVIS does): published figures are computed on it. Of
        Cityscapes it is what the instance maps show. Else it is made of the records; ignore regions become
        ``iscrowd``.
        """
        file = self._coco_content()
        own = {key: {entry["id"]: entry for entry in file.get(key, [])} for key in ("images", "categories")}
        categories = [
            {**own["categories"].get(i, {}), "id": i, "name": name}
            for i, name in zip(self.category_ids, self.class_names, strict=True)
        ]
        images = [
            {
                **own["images"].get(r.image_id, {}),
                "id": r.image_id,
                "file_name": r.name,
                "height": r.height,
                "width": r.width,
            }
            for r in self.records
        ]
        if self.coco_file:
            annotations = self._own_annotations(file.get("annotations", []))
        elif self.instance_maps:
            ids = [record.image_id for record in self.records]
            annotations = self.instance_maps.annotations(ids, self.category_ids)
        else:
            annotations = self._annotations(masks)
        return {"images": images, "annotations": annotations, "categories": categories}

    def _coco_content(self):
        if not self.coco_file:
            return {}
        from kdet.data import coco_file

        content = coco_file.CocoFile(self.coco_file, Faults(Skips(), "skip"), masks=self.has_masks)
        annotations = [a for found in content.annotations.values() for a in found]
        return {"images": content.images, "categories": content.categories, "annotations": annotations}

    def _own_annotations(self, given):
        from kdet.data import coco_file

        sizes = {r.image_id: (r.height, r.width) for r in self.records}
        categories = set(self.category_ids)
        found = [
            a
            for a in given
            if a["image_id"] in sizes and a["category_id"] in categories and coco_file.is_box(a.get("bbox"))
        ]
        if not self.has_masks:
            coco_file.drop_damaged_masks(found, sizes)
        return found

    def _annotations(self, masks):
        annotations = []
        for record in self.records:
            shapes = [[None] * len(labels) for labels in (record.labels, record.ignore_labels)]
            if masks and self.has_masks:
                shapes = [self.segmentations(record), self.segmentations(record, ignored=True)]
            plain = zip(record.boxes, record.labels, shapes[0], strict=True)
            crowd = zip(record.ignore_boxes, record.ignore_labels, shapes[1], strict=True)
            for is_crowd, objects in ((0, plain), (1, crowd)):
                for box, label, segmentation in objects:
                    annotations.append(self._annotation(record, box, label, segmentation, is_crowd))
                    annotations[-1]["id"] = len(annotations)
        return annotations

    def _annotation(self, record, box, label, segmentation, is_crowd):
        x1, y1, x2, y2 = (float(v) for v in box)
        annotation = {
            "image_id": record.image_id,
            "category_id": self.category_ids[int(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": is_crowd,
        }
        if segmentation is not None:
            from kdet.data import masks

            rle = masks.encode(segmentation, record.height, record.width)
            annotation.update(segmentation=rle, area=masks.area(rle))
        return annotation

    def _with_records(self, records):
        return DatasetIndex(
            name=self.name,
            class_names=self.class_names,
            category_ids=self.category_ids,
            records=records,
            skips=self.skips,
            has_masks=self.has_masks,
            read=self.read,
            read_masks=self.read_masks,
            coco_file=self.coco_file,
            instance_maps=self.instance_maps,
            difficulty_lists=self.difficulty_lists,
        )


def _without_small(record, min_box, skips):
    """The record with its objects that are larger, None where there are none."""
    large = np.all(record.boxes[:, 2:] - record.boxes[:, :2] > min_box, axis=1)
    if large.all():
        return record
    skips.add(f"object with a side of {min_box} pixels or less (min_box)", record.name, int((~large).sum()))
    if not large.any():
        skips.add("image of such objects only", record.name)
        return None
    return _with_objects(record, large)


def _small_ignored(record, limit, skips):
    """The record with its objects that have a side below ``limit`` as ignore regions."""
    small = np.any(record.boxes[:, 2:] - record.boxes[:, :2] < limit, axis=1)
    if not small.any():
        return record
    skips.add(
        f"object with a side below {limit} pixels, ignored (ignore_below)", record.name, int(small.sum())
    )
    moved = _with_objects(record, small)
    segmentations = record.ignore_segmentations
    return dataclasses.replace(
        _with_objects(record, ~small),
        ignore_boxes=np.concatenate([record.ignore_boxes, moved.boxes]),
        ignore_labels=np.concatenate([record.ignore_labels, moved.labels]),
        ignore_segmentations=None if segmentations is None else segmentations + moved.segmentations,
    )


def _with_objects(record, keep):
    """The record with those of its objects that the bool ``[n]`` names."""
    shapes = record.segmentations
    return dataclasses.replace(
        record,
        boxes=record.boxes[keep],
        labels=record.labels[keep],
        segmentations=shapes and [s for s, kept in zip(shapes, keep, strict=True) if kept],
    )


def concatenate(parts: Sequence[DatasetIndex]) -> DatasetIndex:
    """One index out of several with the same classes. Image ids that clash are numbered anew.

    Raises:
        ValueError: the class lists differ.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if part.class_names != first.class_names:
            raise DataError(
                f"{part.name} has the classes {part.class_names} but {first.name} has {first.class_names}; "
                "give data.classes so that both use the same list."
            )
    skips = Skips()
    for part in parts:
        skips.update(part.skips)
    records = [record for part in parts for record in part.records]
    if len({r.image_id for r in records}) < len(records):
        records = [dataclasses.replace(r, image_id=i) for i, r in enumerate(records)]
    joined = DatasetIndex(
        name=" + ".join(part.name for part in parts),
        class_names=first.class_names,
        category_ids=first.category_ids,
        records=records,
        skips=skips,
        has_masks=all(part.has_masks for part in parts),
        read=first.read,
        read_masks=first.read_masks,
        difficulty_lists=first.difficulty_lists,
    )
    return joined


def as_boxes(rows: Any) -> np.ndarray:
    return np.asarray(rows, np.float32).reshape(-1, 4)


def as_labels(rows: Any) -> np.ndarray:
    return np.asarray(rows, np.int32).reshape(-1)
