"""Generalized focal loss head (Li et al., 2020): distances as distributions, scores as qualities."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.coders import DistanceCoder
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.towers import Scale, apply_tower, conv_tower, prediction
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.priors import PointGenerator, PriorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


def expectation(logits: Tensor) -> Tensor:
    """Expected value of distributions over 0..n-1: ``[..., n] -> [...]``."""
    places = tf.range(logits.shape[-1], dtype=tf.float32)
    return tf.reduce_sum(tf.nn.softmax(logits) * places, -1)


@register
class GFLHead(AnchorHead):
    """One anchor per cell, used to assign objects only; boxes are distances from its center.

    Args:
        loss_dfl: loss of the distributions.
        reg_max: largest distance in strides.
        stacked_convs, filters, norm: the towers, see ``RetinaHead``.
        other arguments: see ``AnchorHead``; ``loss_bbox`` must take boxes, ``loss_cls`` soft targets.

    Outputs: ``(scores, distributions)``, tuples of ``[B,h,w,classes]`` and
    ``[B,h,w,4*(reg_max+1)]``.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        loss_dfl: Loss,
        reg_max: int = 16,
        stacked_convs: int = 4,
        filters: int = 256,
        norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, anchor_generator=anchor_generator, coder=DistanceCoder(), **kwargs
        )
        self.loss_dfl, self.reg_max = loss_dfl, reg_max
        self.point_generator = PointGenerator(anchor_generator.strides, offset=0.0)
        self.cls_convs, self.reg_convs = (conv_tower(stacked_convs, filters, norm=norm) for _ in range(2))
        self.gfl_cls = prediction(num_classes, probability=0.01)
        self.gfl_reg = prediction(4 * (reg_max + 1))
        self.scales = [Scale() for _ in anchor_generator.strides]

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        scores = [self.gfl_cls(apply_tower(self.cls_convs, x)) for x in features]
        regression = [
            scale(self.gfl_reg(apply_tower(self.reg_convs, x)))
            for x, scale in zip(features, self.scales, strict=True)
        ]
        return tuple(scores), tuple(regression)

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.point_generator(shapes)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, regression in zip(*outputs[:2]):
            regression = flatten_map(regression, 4 * (self.reg_max + 1))
            yield LevelPrediction(flatten_map(scores, self.num_classes), tf.sigmoid, regression)

    def distances(self, points: Tensor, regression: Tensor) -> tuple[Tensor, Tensor]:
        """Distances in pixels ``[B,n,4]`` and the logits ``[B,n,4,reg_max+1]`` that they come from."""
        shape = tf.concat([tf.shape(regression)[:2], [4, self.reg_max + 1]], 0)
        logits = tf.reshape(regression, shape)
        return expectation(logits) * points[..., 2:], logits

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        return self.coder.decode(priors, self.distances(priors, regression)[0], info["valid_size"])

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        points = tf.concat(self.priors(level_shapes(outputs[0])), 0)  # [P, 3]
        distances, logits = self.distances(points, flatten_levels(outputs[1], 4 * (self.reg_max + 1)))
        decoded = self.coder.decode(points, distances)
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        positive = tf.cast(assignment.positive, tf.float32)
        quality = tf.stop_gradient(geometry.aligned_iou(decoded, boxes)) * positive
        scores = flatten_levels(outputs[0], self.num_classes)
        labels = assignment.labels(targets, background=self.num_classes)
        soft = tf.one_hot(labels, self.num_classes) * quality[..., None]
        # boxes weigh as much as the head is sure of the object
        weight = tf.stop_gradient(tf.sigmoid(tf.reduce_max(scores, -1))) * positive
        total = self.total_weight(weight)
        sides = self.coder.encode(points, boxes) / points[:, 2:]
        sides = tf.clip_by_value(sides, 0.0, self.reg_max - 0.1)
        return {
            "loss_cls": self.loss_cls(scores, soft, assignment.weight, normalizer),
            "loss_bbox": self.loss_bbox(decoded, boxes, weight, total),
            **self.regression_losses(logits, sides, weight, total, outputs),
        }

    def total_weight(self, weight: Tensor) -> Tensor:
        """The normalizer of the box losses from their weights ``[B,P]``."""
        return tf.maximum(replica_mean(tf.reduce_sum(weight)), 1.0)

    def regression_losses(
        self, logits: Tensor, sides: Tensor, weight: Tensor, total: Tensor, outputs: Any
    ) -> Losses:
        """Losses of the distributions ``[B,P,4,n]`` against ``sides [B,P,4]`` in strides."""
        return {"loss_dfl": self.loss_dfl(logits, sides, weight, 4.0 * total)}
