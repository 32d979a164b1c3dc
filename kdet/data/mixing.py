"""What transforms that put several images together share: images as NumPy pieces, with boxes and masks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from kdet.data import faults, masks
from kdet.data.sample import Sample, Transform
from kdet.settings import Count, Share
from kdet.typing import Pair, Rle, Tensors

KEYS = ("image", "boxes", "labels", "ignore_boxes")
MASK_KEYS = ("objects", "rows", "columns", "shapes", "frame")


@dataclasses.dataclass
class Piece:
    """One image with its objects, as NumPy.

    Attributes:
        image: ``[h, w, 3]`` uint8 or float32.
        boxes, labels: ``[n, 4]``, ``[n]``.
        ignore_boxes: ``[m, 4]``.
        masks: compressed RLE of each object, of the size of the image; None where masks are not wanted.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignore_boxes: np.ndarray
    masks: list[dict[str, Any]] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image.shape[:2]

    def kept(self, keep: np.ndarray) -> "Piece":
        """With those objects alone that ``keep``, bool ``[n]`` or positions, names."""
        positions = np.arange(len(self.labels))[keep]
        shapes = None if self.masks is None else [self.masks[i] for i in positions]
        return dataclasses.replace(self, boxes=self.boxes[keep], labels=self.labels[keep], masks=shapes)

    def resized(self, size: tuple[int, int]) -> "Piece":
        """Resized to (h, w): pixels bilinear, masks to the nearest."""
        rows, columns = (_nearest(old, new) for old, new in zip(self.size, size, strict=True))
        factor = np.array([new / old for old, new in zip(self.size, size, strict=True)], np.float32)[::-1]
        image = self.image if size == self.size else _bilinear(self.image, size)
        return self._moved(image, rows, columns, np.tile(factor, 2), np.zeros(2, np.float32))

    def window(self, corner: tuple[int, int], size: tuple[int, int], color: float) -> "Piece":
        """The part at ``corner`` (y, x) of ``size`` (h, w); what sticks out of the image has one gray.

        Objects of which nothing is left are dropped.
        """
        maps = []
        for start, length, old in zip(corner, size, self.size, strict=True):
            index = np.arange(start, start + length)
            maps.append(np.where((index >= 0) & (index < old), index, -1))
        rows, columns = maps
        image = self.image[np.maximum(rows, 0)][:, np.maximum(columns, 0)]
        image[rows < 0], image[:, columns < 0] = color, color
        offset = np.array(corner[::-1], np.float32)
        return self._moved(image, rows, columns, np.ones(4, np.float32), offset).visible()

    def mirrored(self) -> "Piece":
        """Left to right."""
        height, width = self.size
        columns = np.arange(width)[::-1]
        shapes = self._shapes(np.arange(height), columns)
        boxes, ignored = (
            np.stack([width - b[:, 2], b[:, 1], width - b[:, 0], b[:, 3]], 1)
            for b in (self.boxes, self.ignore_boxes)
        )
        return Piece(self.image[:, ::-1], boxes, self.labels, ignored, shapes)

    def visible(self) -> "Piece":
        """Without objects and ignore regions that have no area."""
        ignored = self.ignore_boxes[has_area(self.ignore_boxes)]
        return dataclasses.replace(self.kept(has_area(self.boxes)), ignore_boxes=ignored)

    def _moved(
        self, image: np.ndarray, rows: np.ndarray, columns: np.ndarray, factor: np.ndarray, offset: np.ndarray
    ) -> "Piece":
        limit = np.tile(np.array(image.shape[1::-1], np.float32), 2)
        boxes, ignored = (
            np.clip(b * factor - np.tile(offset, 2), 0, limit).astype(np.float32)
            for b in (self.boxes, self.ignore_boxes)
        )
        return Piece(image, boxes, self.labels, ignored, self._shapes(rows, columns))

    def _shapes(self, rows: np.ndarray, columns: np.ndarray) -> list[Rle] | None:
        if self.masks is None:
            return None
        return [masks.moved(rle, rows, columns) for rle in self.masks]


def joined(image: np.ndarray, pieces: list[Piece]) -> Piece:
    """One piece with the objects of several, which lie in the frame of ``image`` already."""
    shapes = None if pieces[0].masks is None else [rle for piece in pieces for rle in piece.masks or ()]
    boxes, labels, ignored = (
        np.concatenate([vars(piece)[key] for piece in pieces]) for key in ("boxes", "labels", "ignore_boxes")
    )
    return Piece(image, boxes, labels, ignored, shapes).visible()


def fitted(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of an image scaled into ``limit`` (h, w) with its aspect ratio."""
    factor = min(limit[0] / size[0], limit[1] / size[1])
    return max(int(size[0] * factor), 1), max(int(size[1] * factor), 1)


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Bool ``[n]``."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(-1))


def boxes_of(rles: list[dict[str, Any]]) -> np.ndarray:
    """Boxes ``[n, 4]`` float32 around masks, all zero for an empty one."""
    boxes = np.reshape(coco_mask.toBbox(rles), (-1, 4)) if rles else np.zeros((0, 4))
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)


class Mixing(Transform):
    """Base of transforms that put images together: give :attr:`images` and :meth:`mix`.

    Args:
        probability: share of the images in which this happens; the others stay as they are.
        recent: see :class:`Transform`.
    """

    mixes, keeps_masks = True, False

    def __init__(self, probability: Share = 1.0, recent: Count | None = None) -> None:
        self.probability, self.recent = probability, recent

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        """The new image out of the image itself and ``images - 1`` others."""
        raise NotImplementedError(f"{type(self).__name__} must define mix().")

    def __call__(self, sample: Any, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < self.probability
        return tf.cond(chosen, lambda: self._mixed(sample, seed), lambda: dict(sample))

    def _mixed(self, sample: Sample, seed: tf.Tensor) -> Tensors:
        keys = (*KEYS, *(MASK_KEYS if "shapes" in sample else ()))
        pieces = [sample, *sample.others(self.images - 1)]
        draw = tf.random.stateless_uniform([], tf.random.fold_in(seed, 1), 0, 2**31 - 1, tf.int32)
        kinds = [sample["image"].dtype, tf.float32, tf.int32, tf.float32]
        kinds += [tf.string] if "shapes" in sample else []
        given = [draw, *(piece[key] for piece in pieces for key in keys)]
        found = tf.numpy_function(faults.remembered(self._run), given, kinds, stateful=False)
        image, boxes, labels, ignored = found[:4]
        image = tf.ensure_shape(image, [None, None, 3])
        size, labels = tf.shape(image)[:2], tf.ensure_shape(labels, [None])
        mixed = dict(
            sample,
            image=image,
            boxes=tf.ensure_shape(boxes, [None, 4]),
            labels=labels,
            ignore_boxes=tf.ensure_shape(ignored, [None, 4]),
            objects=tf.range(tf.shape(labels)[0]),
            rows=tf.range(size[0]),
            columns=tf.range(size[1]),
        )
        if "shapes" in sample:
            mixed.update(shapes=tf.ensure_shape(found[4], [None]), frame=size)
        return mixed

    def _run(self, draw: np.ndarray, *given: np.ndarray) -> list[np.ndarray]:
        each = len(given) // self.images
        parts = [given[i : i + each] for i in range(0, len(given), each)]
        kind = parts[0][0].dtype
        pieces = [_piece(part, kind) for part in parts]
        mixed = self.mix(pieces, np.random.default_rng(int(draw)))
        found = [
            np.ascontiguousarray(mixed.image, kind),
            np.float32(mixed.boxes).reshape(-1, 4),
            np.int32(mixed.labels).reshape(-1),
            np.float32(mixed.ignore_boxes).reshape(-1, 4),
        ]
        if mixed.masks is not None:
            found.append(np.array([rle["counts"] for rle in mixed.masks], object))
        return found


def _piece(part: Sequence[np.ndarray], kind: np.dtype[Any]) -> Piece:
    image, boxes, labels, ignored = part[:4]
    if len(part) == len(KEYS):
        return Piece(image.astype(kind), boxes, labels, ignored)
    objects, rows, columns, shapes, frame = part[4:]
    rles = masks.of_counts(shapes[objects], *map(int, frame))
    return Piece(image.astype(kind), boxes, labels, ignored, [masks.moved(r, rows, columns) for r in rles])


def _nearest(old: int, new: int) -> np.ndarray:
    return np.minimum((np.arange(new) * (old / new)).astype(int), old - 1)


def _bilinear(image: np.ndarray, size: Pair) -> np.ndarray:
    from kdet.data import resize

    with tf.device("CPU"):
        return resize.portable_bilinear(tf.constant(image), tf.constant(size)).numpy()
