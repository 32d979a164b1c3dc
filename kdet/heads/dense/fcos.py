"""FCOS: fully convolutional one-stage detection (Tian et al., 2019)."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet.coders import centerness
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.point import PointHead
from kdet.heads.dense.towers import Scale, prediction
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class FCOSHead(PointHead):
    """Class scores, distances to the four sides and how central a point lies.

    Args:
        loss_centerness: loss of the centerness.
        norm_on_bbox: distances are a ReLU in units of the stride, not an exponential in pixels.
        centerness_on_reg: centerness comes from the box tower, not the class tower.
        other arguments: see ``PointHead``.

    Outputs: ``(scores, distances, centerness)``, tuples of ``[B,h,w,classes]``,
    ``[B,h,w,4]`` in pixels and ``[B,h,w,1]``.
    """

    loss_centerness: Any  # None where a subclass has a way of its own

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        loss_centerness: Loss | None,
        norm_on_bbox: bool = False,
        centerness_on_reg: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, strides=strides, **kwargs)
        self.loss_centerness = loss_centerness
        self.norm_on_bbox, self.centerness_on_reg = norm_on_bbox, centerness_on_reg
        self.conv_centerness = prediction(1)
        self.scales = [Scale() for _ in strides]

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        levels = [self.level(*level) for level in zip(features, self.scales, self.strides, strict=True)]
        return tuple(zip(*levels))

    def level(self, x: Tensor, scale: Scale, stride: int) -> tuple[Tensor, ...]:
        """Outputs of one level."""
        return self.predicted(self.class_tower(x), self.box_tower(x), scale, stride)

    def predicted(self, cls: Tensor, reg: Tensor, scale: Scale, stride: int) -> tuple[Tensor, ...]:
        """Outputs of one level from the maps of both towers."""
        distances = scale(self.conv_reg(reg))
        distances = tf.nn.relu(distances) * stride if self.norm_on_bbox else tf.exp(distances)
        return self.conv_cls(cls), distances, self.conv_centerness(reg if self.centerness_on_reg else cls)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, distances, central in zip(*outputs[:3]):
            scores, distances = flatten_map(scores, self.num_classes), flatten_map(distances, 4)
            factor = tf.sigmoid(flatten_map(central, 1)[..., 0])
            yield LevelPrediction(scores, tf.sigmoid, distances, factor)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox", "loss_centerness"}``; boxes weigh as much as their point is central."""
        return self.assigned_losses(outputs, targets)[0]

    def assigned_losses(self, outputs: Any, targets: Targets) -> tuple[Losses, Assignment]:
        """The losses, and which point answers for which object."""
        points = tf.concat(self.priors(level_shapes(outputs[0])), 0)  # [P, 3]
        assignment = self.assigner(points, targets)
        positive = tf.cast(assignment.positive, tf.float32)
        count = tf.maximum(replica_mean(tf.reduce_sum(positive)), 1.0)
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        central = centerness(self.coder.encode(points, boxes), assignment.positive)  # [B, P]
        labels = assignment.labels(targets, background=self.num_classes)
        decoded = self.coder.decode(points, flatten_levels(outputs[1], 4))
        total = tf.maximum(replica_mean(tf.reduce_sum(central)), 1e-6)
        predicted = flatten_levels(outputs[2], 1)[..., 0]
        losses = {
            "loss_cls": self.loss_cls(flatten_levels(outputs[0], self.num_classes), labels, None, count),
            "loss_bbox": self.loss_bbox(decoded, boxes, central, total),
            "loss_centerness": self.loss_centerness(predicted, central, positive, count),
        }
        return losses, assignment
