"""Assignment by where the center of an anchor lies in an object (Wang et al., 2019)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.assigners.blocks import over_objects
from kdet.contract import Assignment, Targets
from kdet.priors import AnchorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Tensor


@register
class RegionAssigner(Assigner):
    """Anchors in the middle of an object, on the level that fits its size, are positive.

    Around the middle anchors take no part.

    Args:
        center_ratio: side of the middle, as a share of the object's.
        ignore_ratio: side of the region within which anchors take no part.
        ignore_neighbors: on the levels next to the fitting one they take no part there either. (Cascade RPN's
            published models were trained without.)
    """

    def __init__(
        self, center_ratio: float = 0.2, ignore_ratio: float = 0.5, ignore_neighbors: bool = False
    ) -> None:
        self.center_ratio, self.ignore_ratio = center_ratio, ignore_ratio
        self.ignore_neighbors = ignore_neighbors

    def __call__(
        self,
        priors: Tensor,
        targets: Targets,
        valid: Tensor,
        strides: Sequence[int],
        shapes: Sequence[Shape],
        base_size: Tensor,
    ) -> Assignment:
        """Assigns anchors to objects.

        Args:
            priors: ``[P,4]``, one anchor per cell, level by level.
            targets: the data contract's dict.
            valid: bool, broadcastable to ``[B,P]``.
            strides, shapes: stride and (h, w) of every level.
            base_size: side of the anchors of the first level.

        Returns:
            ``Assignment`` without overlaps.
        """
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        counts = [h * w for h, w in shapes]
        level = _by_anchor(range(len(counts)), counts, tf.int32)  # [P]
        # TensorFlow's graphs divide by approximate reciprocals, which moves places that lie between two cells
        cells = _by_anchor([1.0 / s for s in strides], counts, tf.float32)[:, None]  # per pixel
        heights, widths = zip(*shapes, strict=True)
        limit = tf.stack([_by_anchor(side, counts, tf.float32) for side in (widths, heights)], -1)  # [P, 2]
        center = (priors[:, :2] * cells + priors[:, 2:] * cells) * 0.5

        def within(boxes: Tensor, ratio: float) -> Tensor:
            margin = (1.0 - ratio) / 2.0
            places = boxes[:, :, None, :] * cells  # [B, g, P, 4]
            low = tf.round((1.0 - margin) * places[..., :2] + margin * places[..., 2:])
            high = tf.round(margin * places[..., :2] + (1.0 - margin) * places[..., 2:])
            low, high = (tf.clip_by_value(x, 0.0, limit) for x in (low, high))
            return tf.reduce_all((center >= low) & (center <= high), -1)

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> tuple[Tensor, Tensor]:
            (boxes, real), (rank, near) = some, found
            side = tf.sqrt(tf.maximum(geometry.area(boxes), 1e-6))
            fitting = tf.floor(tf.math.log(side / base_size) / math.log(2.0) + 0.5)
            fitting = tf.cast(tf.clip_by_value(fitting, 0.0, len(counts) - 1.0), tf.int32)
            distance = tf.abs(fitting[..., None] - level)  # [B, g, P], in levels
            middle, around = (
                within(boxes, ratio) & real[..., None] for ratio in (self.center_ratio, self.ignore_ratio)
            )
            # of several objects that claim an anchor, the last in the list decides what it is
            number = tf.range(1, tf.shape(boxes)[1] + 1)[None, :, None] + first
            own = tf.where((distance == 0) & (middle | around), 2 * number + tf.cast(middle, tf.int32), 0)
            near |= tf.reduce_any((distance == 1) & around, 1)
            return tf.maximum(rank, tf.reduce_max(own, 1)), near

        start = tf.zeros_like(usable, tf.int32), tf.zeros_like(usable)
        rank, near = over_objects(add, [boxes], real, start)  # [B, P]
        positive = rank % 2 == 1
        free = rank == 0
        if self.ignore_neighbors:
            free &= ~near
        counted = usable & (free | positive)
        return Assignment(tf.where(positive & counted, rank // 2 - 1, -1), tf.cast(counted, tf.float32))


def _by_anchor(values: Iterable[Any], counts: Sequence[Any], dtype: tf.DType) -> Tensor:
    """A value of every level as ``[P]``, one for each of the ``counts`` anchors of the level."""
    # `tf.repeat` asks for the places of the anchors, whose number XLA does not know
    levels = [tf.fill([count], tf.cast(value, dtype)) for value, count in zip(values, counts, strict=True)]
    return tf.concat(levels, 0)


def region_levels(generator: AnchorGenerator, shapes: Sequence[Shape]) -> dict[str, Any]:
    """What ``RegionAssigner`` must know of the levels, as keywords.

    Args:
        generator: ``AnchorGenerator`` of one square per cell.
        shapes: (h, w) of every level.
    """
    base = generator.base_anchors[0][0]
    return {"strides": generator.strides, "shapes": shapes, "base_size": base[2] - base[0]}
