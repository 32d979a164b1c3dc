"""What every reader produces: the list of images with their objects, and what was left out."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.data.folders import read_file
from kdet.data.records import Record, Records
from kdet.errors import DataError
from kdet.typing import Array, PathLike

__all__ = ["DatasetIndex", "Faults", "Record", "Skips", "as_boxes", "as_labels", "concatenate"]

logger = logging.getLogger("kdet.data")


EXAMPLES = 3


class Skips:
    """Counts what was left out and why, with a few examples of each."""

    def __init__(self, examples: int = EXAMPLES) -> None:
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

    def update_in_order(self, others: Sequence["Skips"], places: Mapping[str, tuple[int, int]]) -> None:
        """Takes over what several have, by the places of the first of each reason."""
        found = {reason: other for other in others for reason in other.counts}
        for reason in sorted(found, key=places.__getitem__):
            for example in found[reason].examples[reason]:
                self.add(reason, example, 0)
            self.counts[reason] = self.counts.get(reason, 0) + found[reason].counts[reason]

    def lines(self) -> list[str]:
        return [
            f"skipped {count} x {reason} (e.g. {', '.join(self.examples[reason])})"
            for reason, count in self.counts.items()
        ]


class Faults:
    """What becomes of an unusable entry: an error, or with ``on_corrupt="skip"`` a counted skip."""

    def __init__(self, skips: Skips, on_corrupt: str = "error") -> None:
        self.skips, self.raises = skips, on_corrupt != "skip"

    def add(self, kind: str, where: str, reason: str) -> None:
        """``kind`` is counted; ``where`` (file and entry) and ``reason`` (with the value) are for people."""
        if self.raises:
            raise DataError(f"{where}: {reason}. Repair it, or set data.on_corrupt: skip to leave it out.")
        self.skips.add(kind, f"{where}: {reason}")


class DatasetIndex:
    """The images of a dataset.

    Attributes:
        class_names: list; a label is a position in it.
        category_ids: the file's own id of every class (COCO ``category_id``; 1.. where it has none).
        records: ``Records``, a sequence of ``Record``; any iterable of them may be given or set.
        skips: ``Skips``.
        has_masks: whether the objects carry segmentations.
        coco_file: the annotation file that the index is of, if it is one COCO file.
        instance_maps: ``cityscapes.InstanceMaps`` of the images, if it is one split of Cityscapes.
        difficulty_lists: folder of WIDER FACE's lists of easy, medium and hard faces, if there is one.
        num_stuff: how many of the classes, the last ones, are stuff: regions that are not counted as objects.
    """

    def __init__(
        self,
        *,
        name: str,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        records: Iterable[Record],
        skips: Skips,
        has_masks: bool = False,
        read: Callable[[Record], bytes] | None = None,
        read_masks: Callable[[Record, list[Any]], list[Any]] | None = None,
        coco_file: PathLike | None = None,
        instance_maps: Any = None,
        difficulty_lists: str | None = None,
        num_stuff: int = 0,
    ) -> None:
        self.name = name
        self.class_names = list(class_names)
        self.category_ids = list(category_ids)
        self._records = Records.of(records)
        self.skips = skips
        self.has_masks = has_masks
        self.read = read or read_file
        self.read_masks = read_masks
        self.coco_file = coco_file
        self.instance_maps = instance_maps
        self.difficulty_lists = difficulty_lists
        self.num_stuff = num_stuff

    @property
    def records(self) -> Records:
        """The images, columns that give one ``Record`` after the other."""
        return self._records

    @records.setter
    def records(self, records: Iterable[Record]) -> None:
        self._records = Records.of(records)

    @property
    def has_segments(self) -> bool:
        """Whether every image has a panoptic map."""
        segments = self.records.segments
        return not len(self) or (segments is not None and all(one is not None for one in segments))

    def __len__(self) -> int:
        return len(self.records)

    def segmentations(self, record: Record, ignored: bool = False) -> list[Any]:
        """The segmentations of a record's objects (or ignore regions) in their order; see ``Record``."""
        keys = list((record.ignore_segmentations if ignored else record.segmentations) or [])
        return self.read_masks(record, keys) if self.read_masks else keys

    def report(self) -> str:
        """A few lines: how much there is, and what was skipped and why."""
        head = (
            f"{self.name}: {len(self)} images, {self.num_objects} objects of {len(self.class_names)} "
            f"classes, {int(self.records.ignored.counts.sum())} ignore regions"
        )
        return "\n  ".join([head, *self.skips.lines()])

    @property
    def num_objects(self) -> int:
        """How many objects there are in all images, ignore regions not counted."""
        return int(self.records.objects.counts.sum())

    def first(self, count: int) -> "DatasetIndex":
        """The first ``count`` images only."""
        return self._with_records(self.records[:count])

    def counts(self) -> dict[str, int]:
        """Objects per class: ``{name: count}``."""
        labels = self.records.objects.compact().labels
        totals = np.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, totals.tolist(), strict=True))

    def repeats(self, threshold: float) -> np.ndarray:
        """How often each image comes per epoch so that rare classes are seen more often: int ``[n]``.

        An image's factor is that of its rarest class, ``sqrt(threshold / share of images with it)``
        rounded up (Gupta et al., 2019, "LVIS", section 5).
        """
        classes, count = len(self.class_names), len(self)
        kinds = [kind.compact() for kind in (self.records.objects, self.records.ignored)]
        present = np.unique(np.concatenate([kind.owners * classes + kind.labels for kind in kinds]))
        images, labels = np.divmod(present, classes)
        share = np.maximum(np.bincount(labels, minlength=classes), 1) / max(count, 1)
        factors = np.ones(count)
        np.maximum.at(factors, images, np.sqrt(threshold / share)[labels])
        return np.ceil(factors).astype(int)

    def filtered(
        self, *, empty: bool, min_size: float, min_box: float | None = None, ignore_below: float | None = None
    ) -> "DatasetIndex":
        """Without images that have no object (``empty``) or a side below ``min_size``, and without objects
        that have a side of ``min_box`` or less (images of such only go too): counted skips. Objects with a
        side below ``ignore_below`` become ignore regions, and their images stay."""
        records, notes = self.records, Notes(self.records)
        kept = np.ones(len(records), bool)
        if min_box:
            records, kept = _without_small(records, min_box, notes)
        if ignore_below:
            records = _small_ignored(records, ignore_below, kept, notes)
        if empty:
            notes.add("image without objects (filter_empty)", kept & records.empty)
            kept &= ~records.empty
        small = kept & (records.sizes.min(axis=1) < min_size)
        notes.add(f"image with a side below {min_size} pixels (min_size)", small)
        notes.count(self.skips)
        return self._with_records(records.take(np.flatnonzero(kept & ~small)))

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

    def _coco_content(self) -> dict[str, list[Any]]:
        if not self.coco_file:
            return {}
        from kdet.data import coco_file

        content = coco_file.CocoFile(self.coco_file, Faults(Skips(), "skip"), masks=self.has_masks)
        annotations = [a for found in content.annotations.values() for a in found]
        return {"images": content.images, "categories": content.categories, "annotations": annotations}

    def _own_annotations(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
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

    def _annotations(self, masks: bool) -> list[dict[str, Any]]:
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

    def _annotation(
        self, record: Record, box: np.ndarray, label: int, segmentation: Any, is_crowd: int
    ) -> dict[str, Any]:
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

    def _with_records(self, records: Records) -> "DatasetIndex":
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
            num_stuff=self.num_stuff,
        )


class Notes:
    """What is left out of columns, counted in :class:`Skips` in the order of the images.

    Args:
        records: the images.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._found: list[tuple[int, int, str, Array, Array]] = []

    def add(self, reason: str, where: Array, counts: Array | None = None) -> None:
        """``where``: bool ``[n]``, the images; ``counts``: int ``[n]``, how much in each (None: one)."""
        images = np.flatnonzero(where)
        if len(images):
            how_many = np.ones(len(images), int) if counts is None else counts[images]
            self._found.append((int(images[0]), len(self._found), reason, images, how_many))

    def count(self, skips: Skips) -> None:
        """Adds everything to ``skips``."""
        for _, _, reason, images, counts in sorted(self._found, key=lambda one: one[:2]):
            for image, count in zip(images[:EXAMPLES], counts[:EXAMPLES], strict=True):
                skips.add(reason, self._records.names[int(image)], int(count))
            if len(images) > EXAMPLES:
                skips.counts[reason] += int(counts[EXAMPLES:].sum())


def _without_small(records: Records, min_box: float, notes: Notes) -> tuple[Records, Array]:
    """The records with their objects that are larger, and which of them stay (bool ``[n]``)."""
    objects = records.objects.compact()
    large = np.all(objects.boxes[:, 2:] - objects.boxes[:, :2] > min_box, axis=1)
    left = objects.where(large)
    lost = objects.counts - left.counts
    notes.add(f"object with a side of {min_box} pixels or less (min_box)", lost > 0, lost)
    gone = (lost > 0) & (left.counts == 0)
    notes.add("image of such objects only", gone)
    return records.with_columns(objects=left), ~gone


def _small_ignored(records: Records, limit: float, kept: Array, notes: Notes) -> Records:
    """The records with their objects that have a side below ``limit`` as ignore regions."""
    objects = records.objects.compact()
    small = np.any(objects.boxes[:, 2:] - objects.boxes[:, :2] < limit, axis=1)
    moved = objects.where(small)
    reason = f"object with a side below {limit} pixels, ignored (ignore_below)"
    notes.add(reason, kept & (moved.counts > 0), moved.counts)
    ignored = records.ignored.followed_by(moved)
    return records.with_columns(objects=objects.where(~small), ignored=ignored)


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
    records = Records.joined([part.records for part in parts])
    if len(np.unique(records.image_id)) < len(records):
        records = records.with_columns(image_id=np.arange(len(records)))
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
        num_stuff=first.num_stuff,
    )
    return joined


def as_boxes(rows: Any) -> np.ndarray:
    return np.asarray(rows, np.float32).reshape(-1, 4)


def as_labels(rows: Any) -> np.ndarray:
    return np.asarray(rows, np.int32).reshape(-1)
