"""The images of a data set as columns, and one of them as a :class:`Record`.

A column is an array over all images (or over all objects of all images), in memory or mapped from a file. A
``Record`` is made of a few slices when it is asked for. A million objects take about 40 bytes each, and
their segmentations stay bytes (:mod:`kdet.data.packed`).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from kdet.data.packed import Chain, Chosen, Shapes, Texts, chosen
from kdet.typing import Array

if TYPE_CHECKING:  # it imports this module
    from kdet.data.coco_panoptic import PanopticSegments


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its objects, in pixels of the image on disk.

    ``boxes [n,4]`` float32 xyxy, ``labels [n]`` int32; ``ignore_boxes [m,4]``, ``ignore_labels [m]``:
    crowds and difficult objects. ``segmentations``: per object a COCO polygon list, an RLE dict or PNG
    bytes, or a key that the index's ``read_masks`` understands (None: no masks). ``source`` is a file path,
    or whatever the index's ``read`` understands. A record is made anew every time it is asked for, so its
    attributes cannot be set; change an index by ``index.records = [dataclasses.replace(record, ...), ...]``.
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
    segmentations: Sequence[Any] | None = None
    ignore_segmentations: Sequence[Any] | None = None
    proposals: np.ndarray | None = None  # [p,4] float32, pre-computed
    semantic: str | None = None  # path of its class map
    segments: "PanopticSegments | None" = None  # its panoptic map
    empty: bool = False  # no object of the wanted classes is annotated at all


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects (or the ignore regions) of all images.

    Attributes:
        boxes: float32 ``[k,4]``.
        labels: int32 ``[k]``.
        shapes: their ``k`` segmentations, None: no masks.
        starts, stops: int64 ``[n]``: rows ``starts[i]`` to ``stops[i]`` are those of image ``i``.
    """

    boxes: Array
    labels: Array
    shapes: Sequence[Any] | None
    starts: Array
    stops: Array

    @property
    def counts(self) -> Array:
        """int64 ``[n]``: how many there are in each image."""
        return self.stops - self.starts

    @property
    def owners(self) -> Array:
        """int64 ``[k]``: the image of each row of :meth:`compact`."""
        return np.repeat(np.arange(len(self.starts)), self.counts)

    def compact(self) -> "Objects":
        """The same with the rows in the order of the images and no others; itself where they are so."""
        splits = np.cumsum(self.counts)
        if len(self.labels) == (splits[-1] if len(splits) else 0) and (self.stops == splits).all():
            return self
        rows = np.arange(len(self.owners)) + np.repeat(self.starts - (splits - self.counts), self.counts)
        return self.of_rows(rows, self.counts)

    def of_rows(self, rows: Array, counts: Array) -> "Objects":
        """These rows, of which the first ``counts[0]`` are of the first image and so on."""
        stops = np.cumsum(counts)
        return Objects(
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            shapes=None if self.shapes is None else chosen(self.shapes, rows),
            starts=stops - counts,
            stops=stops,
        )

    def where(self, keep: Array) -> "Objects":
        """Those of :meth:`compact` that the bool ``[k]`` names."""
        whole = self.compact()
        counts = np.bincount(whole.owners[keep], minlength=len(self.starts))
        return whole.of_rows(np.flatnonzero(keep), counts)

    def take(self, images: Array) -> "Objects":
        """Those of some images, which share the columns."""
        return dataclasses.replace(self, starts=self.starts[images], stops=self.stops[images])

    def followed_by(self, others: "Objects") -> "Objects":
        """Every image's objects and behind them those that it has in ``others``."""
        first, second = self.compact(), others.compact()
        order = np.argsort(np.concatenate([first.owners, second.owners]), kind="stable")
        return _stacked([first, second]).of_rows(order, first.counts + second.counts)


class Records(Sequence[Record]):
    """The images of a data set, a sequence of :class:`Record` over columns.

    The arrays of a record are views: what is written into them stays.

    Attributes:
        image_id: int64 ``[n]``.
        sizes: int64 ``[n,2]`` (h, w).
        names: their names.
        sources: what each is read from.
        empty: bool ``[n]``, see :class:`Record`.
        objects, ignored: :class:`Objects`.
        proposals, semantic, segments: as in :class:`Record`, for all images; None: no image has any.
    """

    def __init__(
        self,
        *,
        image_id: Array,
        sizes: Array,
        names: Sequence[str],
        sources: Sequence[Any],
        empty: Array,
        objects: Objects,
        ignored: Objects,
        proposals: Sequence[Any] | None = None,
        semantic: Sequence[str | None] | None = None,
        segments: Sequence[Any] | None = None,
    ) -> None:
        self.image_id, self.sizes, self.names, self.sources = image_id, sizes, names, sources
        self.empty, self.objects, self.ignored = empty, objects, ignored
        self.proposals, self.semantic, self.segments = proposals, semantic, segments

    def __len__(self) -> int:
        return len(self.image_id)

    @overload
    def __getitem__(self, position: int) -> Record: ...
    @overload
    def __getitem__(self, position: slice) -> "Records": ...
    def __getitem__(self, position: int | slice) -> "Record | Records":
        if isinstance(position, slice):
            return self.take(np.arange(len(self))[position])
        i = range(len(self))[position]
        own = slice(int(self.objects.starts[i]), int(self.objects.stops[i]))
        left = slice(int(self.ignored.starts[i]), int(self.ignored.stops[i]))
        return Record(
            image_id=int(self.image_id[i]),
            name=self.names[i],
            source=self.sources[i],
            height=int(self.sizes[i, 0]),
            width=int(self.sizes[i, 1]),
            boxes=self.objects.boxes[own],
            labels=self.objects.labels[own],
            ignore_boxes=self.ignored.boxes[left],
            ignore_labels=self.ignored.labels[left],
            segmentations=_shapes(self.objects, own),
            ignore_segmentations=_shapes(self.ignored, left),
            proposals=self.proposals[i] if self.proposals is not None else None,
            semantic=self.semantic[i] if self.semantic is not None else None,
            segments=self.segments[i] if self.segments is not None else None,
            empty=bool(self.empty[i]),
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def with_columns(self, **columns: Any) -> "Records":
        """The same images with other columns, by the names of the attributes."""
        return Records(**{**vars(self), **columns})

    def take(self, images: Any) -> "Records":
        """The images at some positions (int ``[m]``); their objects share the columns."""
        images = np.asarray(images, np.int64)
        found: dict[str, Any] = {key: vars(self)[key][images] for key in ("image_id", "sizes", "empty")}
        for key in ("names", "sources", "proposals", "semantic", "segments"):
            values = vars(self)[key]
            found[key] = None if values is None else chosen(values, images)
        return Records(objects=self.objects.take(images), ignored=self.ignored.take(images), **found)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Records":
        """The columns of records, which are not kept: a generator takes the memory of one."""
        if isinstance(records, Records):
            return records
        return _Columns().filled(records)

    @classmethod
    def joined(cls, parts: Sequence["Records"]) -> "Records":
        """The images of several, one after the other."""
        found: dict[str, Any] = {
            key: np.concatenate([vars(part)[key] for part in parts]) for key in ("image_id", "sizes", "empty")
        }
        for key in ("names", "sources"):
            found[key] = Chain([vars(part)[key] for part in parts])
        for key in ("proposals", "semantic", "segments"):
            given = [vars(part)[key] for part in parts]
            if any(values is not None for values in given):
                pairs = zip(given, parts, strict=True)
                found[key] = Chain([[None] * len(p) if v is None else v for v, p in pairs])
        return cls(
            objects=_stacked_images([part.objects for part in parts]),
            ignored=_stacked_images([part.ignored for part in parts]),
            **found,
        )


class _Columns:
    """Gathers records into columns."""

    def __init__(self) -> None:
        self.plain: dict[str, list[Any]] = {
            key: [] for key in ("image_id", "sizes", "names", "sources", "empty")
        }
        self.seldom: dict[str, list[Any]] = {key: [] for key in ("proposals", "semantic", "segments")}
        self.objects, self.ignored = _Gathered(), _Gathered()

    def filled(self, records: Iterable[Record]) -> Records:
        for r in records:
            values = (r.image_id, (r.height, r.width), r.name, r.source, r.empty)
            for column, value in zip(self.plain.values(), values, strict=True):
                column.append(value)
            for key, found in self.seldom.items():
                found.append(vars(r)[key])
            self.objects.add(r.boxes, r.labels, r.segmentations)
            self.ignored.add(r.ignore_boxes, r.ignore_labels, r.ignore_segmentations)
        plain = self.plain
        return Records(
            image_id=np.array(plain["image_id"], np.int64),
            sizes=np.array(plain["sizes"], np.int64).reshape(-1, 2),
            names=Texts.of(plain["names"]) if _all_texts(plain["names"]) else plain["names"],
            sources=Texts.of(plain["sources"]) if _all_texts(plain["sources"]) else plain["sources"],
            empty=np.array(plain["empty"], bool),
            objects=self.objects.objects(),
            ignored=self.ignored.objects(),
            proposals=_if_any(self.seldom["proposals"]),
            semantic=_if_any(self.seldom["semantic"]),
            segments=_if_any(self.seldom["segments"]),
        )


class _Gathered:
    """The objects of images on their way into columns."""

    def __init__(self) -> None:
        self.boxes, self.labels, self.counts = bytearray(), bytearray(), [0]
        self.shapes: list[Any] = []
        self.has_shapes = False

    def add(self, boxes: Array, labels: Array, shapes: Sequence[Any] | None) -> None:
        self.boxes += np.ascontiguousarray(boxes, np.float32).tobytes()
        self.labels += np.ascontiguousarray(labels, np.int32).tobytes()
        self.counts.append(len(labels))
        self.has_shapes = self.has_shapes or shapes is not None
        self.shapes += [None] * len(labels) if shapes is None else shapes

    def objects(self) -> Objects:
        splits = np.cumsum(self.counts)
        return Objects(
            boxes=np.frombuffer(self.boxes, np.float32).reshape(-1, 4),
            labels=np.frombuffer(self.labels, np.int32),
            shapes=(Shapes.of(self.shapes) or self.shapes) if self.has_shapes else None,
            starts=splits[:-1],
            stops=splits[1:],
        )


def _shapes(objects: Objects, rows: slice) -> Sequence[Any] | None:
    if objects.shapes is None:
        return None
    return Chosen(objects.shapes, np.arange(rows.start, rows.stop))


def _stacked_images(parts: Sequence[Objects]) -> Objects:
    """The objects of the images of several parts."""
    whole = _stacked(parts)
    shifts = np.cumsum([0, *(len(part.labels) for part in parts)])
    pairs = list(zip(parts, shifts[:-1], strict=True))
    return dataclasses.replace(
        whole,
        starts=np.concatenate([part.starts + shift for part, shift in pairs]),
        stops=np.concatenate([part.stops + shift for part, shift in pairs]),
    )


def _stacked(parts: Sequence[Objects]) -> Objects:
    """The columns of several one below the other; of which image each row is, the caller says."""
    shapes = None
    if any(part.shapes is not None for part in parts):
        shapes = Chain([[None] * len(p.labels) if p.shapes is None else p.shapes for p in parts])
    return Objects(
        boxes=np.concatenate([part.boxes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        shapes=shapes,
        starts=parts[0].starts,
        stops=parts[0].stops,
    )


def _if_any(values: list[Any]) -> list[Any] | None:
    return values if any(one is not None for one in values) else None


def _all_texts(values: Sequence[Any]) -> bool:
    return all(type(value) is str for value in values)
