"""The head of ATSS (Zhang et al., 2020): RetinaNet with one anchor per cell and centerness."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.coders import DistanceCoder, centerness
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map
from kdet.heads.dense.towers import Scale, apply_tower, conv_tower, prediction
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class ATSSHead(AnchorHead):
    """Two towers; class scores, deltas and centerness per anchor.

    Args:
        loss_centerness: loss of the centerness.
        stacked_convs, filters, norm: the towers, see ``RetinaHead``.
        kernel_size: of the convolutions that predict.
        other arguments: see ``AnchorHead``; ``loss_bbox`` must take boxes.

    Outputs: ``(scores, deltas, centerness)``, tuples of ``[B,h,w,A*classes]``,
    ``[B,h,w,A*4]`` and ``[B,h,w,A]``.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        loss_centerness: Loss,
        stacked_convs: int = 4,
        filters: int = 256,
        norm: str | Spec | None = None,
        kernel_size: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.loss_centerness = loss_centerness
        self.cls_convs, self.reg_convs = (conv_tower(stacked_convs, filters, norm=norm) for _ in range(2))
        self.atss_cls = prediction(self.num_anchors * num_classes, kernel_size, probability=0.01)
        self.atss_reg = prediction(self.num_anchors * 4, kernel_size)
        self.atss_centerness = prediction(self.num_anchors, kernel_size)
        self.scales = [Scale() for _ in anchor_generator.strides]

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        levels = []
        for x, scale in zip(features, self.scales, strict=True):
            cls, reg = apply_tower(self.cls_convs, x), apply_tower(self.reg_convs, x)
            levels.append((self.atss_cls(cls), scale(self.atss_reg(reg)), self.atss_centerness(reg)))
        return tuple(zip(*levels))

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        centralities = (tf.sigmoid(flatten_map(x, 1)[..., 0]) for x in outputs[2])
        for level, factor in zip(super().level_predictions(outputs), centralities):
            yield level._replace(factor=factor)

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        distances = DistanceCoder().encode(geometry.centers(anchors), boxes)
        central = centerness(distances, assignment.positive)  # [B, P]
        total = tf.maximum(replica_mean(tf.reduce_sum(central)), 1.0)
        scores = flatten_levels(outputs[0], self.num_classes)
        labels = assignment.labels(targets, background=self.num_classes)
        decoded = self.coder.decode(anchors, flatten_levels(outputs[1], 4))
        positive = tf.cast(assignment.positive, tf.float32)
        predicted = flatten_levels(outputs[2], 1)[..., 0]
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, normalizer),
            "loss_bbox": self.loss_bbox(decoded, boxes, central, total),
            "loss_centerness": self.loss_centerness(predicted, central, positive, normalizer),
        }
