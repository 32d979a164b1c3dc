"""FoveaBox (Kong et al., 2020): points in the middle of an object on the levels that fit its size."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.point import PointHead
from kdet.heads.dense.towers import FeatureAdaption
from kdet.layers import ConvModule, replica_mean
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class FoveaHead(PointHead):
    """Class scores and logarithms of the distances in ``base_size`` strides.

    Args:
        scale_ranges: (low, high) per level of the root of an object's area, in pixels; levels overlap.
        sigma: the share of a box, around its center, whose points are positive.
        base_size: the unit of distances, in strides.
        align: look for classes where the predicted box says (FoveaBox-align).
        other arguments: see ``PointHead``.

    Outputs: ``(scores, logarithms)``, tuples of ``[B,h,w,classes]``, ``[B,h,w,4]``.
    """

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        scale_ranges: Sequence[Sequence[float]],
        sigma: float = 0.4,
        base_size: float = 2.0,
        align: bool = False,
        filters: int = 256,
        norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        class_tower = None
        if align:
            class_tower = [
                ConvModule(4 * filters, 3, padding=1, norm=norm),
                ConvModule(4 * filters, 1, norm=norm),
            ]
        super().__init__(
            num_classes=num_classes,
            strides=strides,
            filters=filters,
            norm=norm,
            class_tower=class_tower,
            **kwargs,
        )
        self.scale_ranges, self.sigma, self.base_size = tuple(scale_ranges), sigma, base_size
        self.feature_adaption = FeatureAdaption(filters) if align else None

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        levels = []
        for x in features:
            logarithms = self.conv_reg(self.box_tower(x))
            if self.feature_adaption is not None:
                x = self.feature_adaption(x, tf.exp(logarithms))
            levels.append((self.conv_cls(self.class_tower(x)), logarithms))
        return tuple(zip(*levels))

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, logarithms in zip(*outputs):
            scores = flatten_map(scores, self.num_classes)
            yield LevelPrediction(scores, tf.sigmoid, flatten_map(logarithms, 4))

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        boxes = self.coder.decode(priors, tf.exp(regression) * self.base_size * priors[..., 2:])
        return geometry.clip(boxes, info["valid_size"] - 1.0)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox"}``."""
        shapes = level_shapes(outputs[0])
        points = tf.concat(self.priors(shapes), 0)  # [P, 3]
        assignment = self.assign(points, shapes, targets)
        positive = tf.cast(assignment.positive, tf.float32)
        count = replica_mean(tf.reduce_sum(positive))
        images = tf.cast(tf.shape(positive)[0], tf.float32)
        distances = self.coder.encode(points, assignment.gather(targets["boxes"]))
        distances /= self.base_size * points[:, 2:]
        wanted = tf.math.log(tf.clip_by_value(distances, 1 / 16, 16.0))
        labels = assignment.labels(targets, background=self.num_classes)
        scores = flatten_levels(outputs[0], self.num_classes)
        return {
            "loss_cls": self.loss_cls(scores, labels, None, count + images),
            "loss_bbox": self.loss_bbox(
                flatten_levels(outputs[1], 4), wanted, positive, tf.maximum(count, 1.0)
            ),
        }

    def assign(self, points: Tensor, shapes: Sequence[Shape], targets: Targets) -> Assignment:
        """A point belongs to the smallest object whose middle covers its cell: ``Assignment [B,P]``."""
        stride, boxes = points[:, 2:], targets["boxes"][:, :, None, :]  # [B, G, 1, 4]
        cells = points[:, :2] / stride - 0.5
        last, ranges = [], []
        for (h, w), scale_range in zip(shapes, self.scale_ranges, strict=True):
            last.append(tf.tile(tf.cast([[w - 1, h - 1]], tf.float32), [h * w, 1]))
            ranges.append(tf.tile(tf.constant([scale_range], tf.float32), [h * w, 1]))
        last, ranges = tf.concat(last, 0), tf.concat(ranges, 0)  # [P, 2]
        middle = geometry.scale_boxes(boxes / tf.tile(stride, [1, 4]), self.sigma)  # [B, G, P, 4] in cells
        # cells at the edge of the map stand for what lies beyond
        first = tf.clip_by_value(tf.math.ceil(middle[..., :2] - 0.5), 0.0, last)
        final = tf.clip_by_value(tf.floor(middle[..., 2:] - 0.5), 0.0, last)
        size = tf.sqrt(geometry.area(targets["boxes"]))[..., None]  # [B, G, 1]
        covered = tf.reduce_all((cells >= first) & (cells <= final), -1)
        covered &= (size >= ranges[:, 0]) & (size <= ranges[:, 1]) & (targets["labels"] >= 0)[..., None]
        index = tf.argmin(tf.where(covered, size, float("inf")), 1, tf.int32)
        index = tf.where(tf.reduce_any(covered, 1), index, -1)
        return Assignment(index, tf.ones(tf.shape(index)))
