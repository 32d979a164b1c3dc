"""What ``predict`` gives for images: the dict of arrays, and each image's detections as an object."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdet import storage
from kdet.typing import Array, PathLike

if TYPE_CHECKING:  # heavy, and each wanted by one method
    import pandas
    import supervision

Source = Any  # a path, encoded bytes or an RGB array, as ``predict`` takes them


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class MasksOnDemand:
    """Masks of one image, each made in the image's size when it is asked for.

    A hundred masks of a photograph of 12 megapixels take 1.2 GB; what a model computes takes 300 kB.
    ``masks[3]`` and a loop make one at a time, ``numpy.asarray(masks)`` makes all, a slice or a bool array
    chooses some and makes none.

    Attributes:
        computed: what the model gave, ``[n,...]``.
        boxes: float32 ``[n,4]`` xyxy in pixels of the image.
        size: (h, w) of the image.
        paste: ``Detector.image_masks``.
    """

    computed: Array
    boxes: Array
    size: tuple[int, int]
    paste: Callable[[dict[str, Any], int, int], Array]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of all masks, as an array's."""
        return (len(self), *self.size)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            index = range(len(self))[key]  # as of a list: negative ones, IndexError
            return np.asarray(self[index : index + 1])[0]
        return dataclasses.replace(self, computed=self.computed[key], boxes=self.boxes[key])

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = {"masks": self.computed, "boxes": self.boxes, "num_detections": len(self)}
        return np.asarray(self.paste(found, *self.size), dtype)


SEGMENT_KEYS = ("segment_labels", "segment_scores", "segment_areas")


def segments_of(found: Mapping[str, Array], class_names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The panoptic segments of one image as dicts with ``id``, ``label``, ``name``, ``score`` and ``area``.

    Args:
        found: ``SEGMENT_KEYS``, ``[S]`` each.
        class_names: names by label, or None.
    """
    rows = zip(*(found[key].tolist() for key in SEGMENT_KEYS), strict=True)
    return [
        {
            "id": row,
            "label": label,
            "name": f"class {label}" if class_names is None else class_names[label],
            "score": score,
            "area": area,
        }
        for row, (label, score, area) in enumerate(rows, 1)
        if label >= 0
    ]


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """The detections of one image, best first, without padding.

    Attributes:
        boxes: float32 ``[n,4]`` xyxy in pixels of the image.
        scores: float32 ``[n]`` in 0..1.
        labels: int ``[n]``, classes from 0 on.
        masks: bool ``[n,h,w]`` in the size of the image, or None; of ``predict_iter`` they are made when they
            are asked for (:class:`MasksOnDemand`).
        panoptic: int ``[h,w]``, the ``id`` of the segment that every pixel belongs to, 0 for none; or None.
        segments: the panoptic segments, dicts with ``id``, ``label``, ``name``, ``score``, ``area`` (pixels).
        class_names: names by label, or None.
        source: the image as it was given to ``predict``; None for one of a generator.
        size: (h, w) of the image, where ``predict_iter`` gave the result; otherwise None.
        tracks: int ``[n]``, numbers of the objects that a tracker follows (``kdet.video.Tracker``), or None.
        error: why the image could not be read (``predict_iter(on_corrupt="report")``), else None.

    Example:
        >>> result = model.predict("street.jpg")[0]
        >>> for box, score, name in zip(result.boxes, result.scores, result.names):
        ...     print(name, score, box)
        >>> result.save("found.png")
    """

    boxes: Array
    scores: Array
    labels: Array
    masks: Array | MasksOnDemand | None = None
    class_names: Sequence[str] | None = None
    source: Source = None
    size: tuple[int, int] | None = None
    tracks: Array | None = None
    error: str | None = None
    panoptic: Array | None = None
    segments: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @classmethod
    def failed(cls, error: str, class_names: Sequence[str] | None, source: Source) -> "Result":
        """What an image gives that could not be read: no detections, and the reason."""
        nothing = np.zeros([0], np.float32)
        boxes, labels = nothing.reshape(0, 4), nothing.astype(np.int32)
        return cls(boxes, nothing, labels, class_names=class_names, source=source, error=error)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = collections.Counter(self.names)
        return f"Result({', '.join(f'{count} {name}' for name, count in counts.items()) or 'nothing'})"

    @property
    def names(self) -> list[str]:
        """The name of every detection's class; ``class 3`` where nobody named the classes."""
        return [
            f"class {label}" if self.class_names is None else self.class_names[label] for label in self.labels
        ]

    def where(self, keep: Array) -> "Result":
        """Some of the detections: a bool array ``[n]``, or positions."""
        return dataclasses.replace(
            self,
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            masks=None if self.masks is None else self.masks[keep],
            tracks=None if self.tracks is None else self.tracks[keep],
        )

    def with_tracks(self, tracks: Array) -> "Result":
        """The same detections with the numbers ``[n]`` of the objects that they belong to."""
        return dataclasses.replace(self, tracks=tracks)

    def above(self, score: float) -> "Result":
        """The detections of at least this score."""
        return self.where(self.scores >= score)

    def to_supervision(self) -> "supervision.Detections":
        """The detections as ``supervision.Detections``, class names under ``data["class_name"]``."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores,
            class_id=self.labels.astype(int),
            mask=None if self.masks is None else np.asarray(self.masks),
            tracker_id=self.tracks,
            data={"class_name": np.array(self.names)},
        )

    def to_coco(self, image_id: int = 0, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Entries of a COCO result file: ``bbox`` is ``[x, y, width, height]``, masks are compressed RLE.

        Args:
            image_id: of the entries.
            category_ids: by label, as ``index.category_ids`` of a data set; without them label + 1.
        """
        from kdet.evaluation.results import encode_mask

        entries = []
        for i, label in enumerate(self.labels.tolist()):
            x1, y1, x2, y2 = self.boxes[i].astype(float).tolist()
            entry: dict[str, Any] = {
                "image_id": image_id,
                "category_id": label + 1 if category_ids is None else category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(self.scores[i]),
            }
            if self.masks is not None:
                entry["segmentation"] = encode_mask(self.masks[i])
            entries.append(entry)
        return entries

    def to_pandas(self) -> "pandas.DataFrame":
        """A table with a row per detection: x1, y1, x2, y2, score, label, name.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas.") from error
        table = pandas.DataFrame(self.boxes, columns=["x1", "y1", "x2", "y2"])
        table = table.assign(score=self.scores, label=self.labels, name=self.names)
        return table if self.tracks is None else table.assign(track=self.tracks)

    def plot(self, min_score: float = 0.3, image: Source = None) -> Array:
        """The image with boxes, masks and names drawn in: uint8 RGB ``[h,w,3]``.

        Panoptic segments, where there are some, are drawn in the place of the detections, all of them.

        Args:
            min_score: lowest score drawn.
            image: to draw on; by default the one that was given to ``predict``.

        Raises:
            ValueError: ``predict`` was given a generator, whose images are gone, and ``image`` is None.
        """
        from kdet.data import decoding
        from kdet.visualize import draw_detections, draw_segments

        image = self.source if image is None else image
        if image is None:
            raise ValueError("The image was read from a generator and is gone: give it, plot(image=...).")
        if self.panoptic is not None:
            return draw_segments(decoding.load(image), self.panoptic, self.segments)
        shown = self.above(min_score)
        masks = None if shown.masks is None else np.asarray(shown.masks)
        found = {"boxes": shown.boxes, "scores": shown.scores, "labels": shown.labels, "masks": masks}
        if shown.tracks is not None:
            found["tracks"] = shown.tracks
        return draw_detections(decoding.load(image), found, self.class_names, threshold=min_score)

    def save(self, path: PathLike, min_score: float = 0.3, image: Source = None) -> PathLike:
        """Write what ``plot`` draws as PNG or JPEG, by the ending of ``path`` (or URL); returns the path.

        Raises:
            ValueError: another ending. WriteError: the file cannot be written.
        """
        import tensorflow as tf

        from kdet.writing import whole

        encoders = {".png": tf.io.encode_png, ".jpg": tf.io.encode_jpeg, ".jpeg": tf.io.encode_jpeg}
        target = path if storage.is_url(path) else pathlib.Path(path)
        suffix = pathlib.PurePath(path).suffix.lower()
        if suffix not in encoders:
            raise ValueError(f"{target} must end in {', '.join(encoders)}.")
        encoded = encoders[suffix](self.plot(min_score, image)).numpy()
        with whole(target) as part:
            part.write_bytes(encoded)
        return target


class Results(dict[str, Any]):
    """The detections of images: a dict of arrays over the images, as ``predict`` has always given.

    ``results["boxes"]`` is the padded array of all images, ``results[0]`` the first image's :class:`Result`.

    Args:
        found: ``boxes [P,N,4]``, ``scores [P,N]``, ``labels [P,N]`` (-1: padding), ``num_detections [P]``
            and, where the model has them, ``masks``, a list of bool ``[num_detections,h,w]``, and
            ``panoptic``, a list of int ``[h,w]``, with ``segment_labels``, ``segment_scores`` and
            ``segment_areas`` ``[P,S]``.
        class_names: names by label, or None.
        sources: the images, as they were given.

    Example:
        >>> results = model.predict(["a.jpg", "b.jpg"])
        >>> results["boxes"].shape
        (2, 100, 4)
        >>> [len(result.above(0.5)) for result in results.images()]
        [3, 7]
        >>> results.save("found")
    """

    def __init__(
        self,
        found: dict[str, Any],
        class_names: Sequence[str] | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        super().__init__(found)
        self.class_names, self.sources = class_names, sources

    @property
    def count(self) -> int:
        """Number of images; ``len`` is that of the dict."""
        return len(self["num_detections"])

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, (int, np.integer)):
            return super().__getitem__(key)
        if not -self.count <= key < self.count:
            raise IndexError(f"There are results of {self.count} images; got the index {key}.")
        index = int(key) % self.count
        number = int(self["num_detections"][index])
        return Result(
            **{name: self[name][index][:number] for name in ("boxes", "scores", "labels")},
            masks=self["masks"][index] if "masks" in self else None,
            panoptic=self["panoptic"][index] if "panoptic" in self else None,
            segments=segments_of({k: self[k][index] for k in SEGMENT_KEYS}, self.class_names)
            if "panoptic" in self
            else [],
            class_names=self.class_names,
            source=None if self.sources is None else self.sources[index],
        )

    def images(self) -> Iterator[Result]:
        """One image's detections after the other."""
        return (self[i] for i in range(self.count))

    def to_coco(
        self, image_ids: Sequence[int] | None = None, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """``Result.to_coco`` of all images, in one list; without ``image_ids`` they count from 0."""
        ids = range(self.count) if image_ids is None else image_ids
        if len(ids) != self.count:
            raise ValueError(f"There are results of {self.count} images but {len(ids)} image_ids.")
        pairs = zip(ids, self.images(), strict=True)
        return [entry for image_id, result in pairs for entry in result.to_coco(image_id, category_ids)]

    def to_pandas(self) -> "pandas.DataFrame":
        """``Result.to_pandas`` of all images, one below the other, with the column ``image`` in front."""
        import pandas

        tables = [result.to_pandas() for result in self.images()]
        for i, table in enumerate(tables):
            table.insert(0, "image", i)
        return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame()

    def save(self, folder: PathLike, min_score: float = 0.3) -> list[PathLike]:
        """Write every image with its detections drawn in as a PNG; returns the paths.

        They are called as their source, or by number where that has no name.
        """
        paths: list[PathLike] = []
        for i, result in enumerate(self.images()):
            named = isinstance(result.source, (str, os.PathLike))
            stem = storage.stem(result.source) if named else f"{i:05d}"
            target = storage.join(folder, f"{stem}.png")
            if target in paths:
                target = storage.join(folder, f"{stem}_{i}.png")
            paths.append(result.save(target, min_score))
        return paths
