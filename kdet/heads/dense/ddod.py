"""The head of DDOD (Chen et al., 2021, arXiv:2107.02963): what classes and boxes need, kept apart."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.assigners import ATSSAssigner
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.towers import Scale, apply_tower, prediction, small_normal
from kdet.layers import ConvModule, replica_mean
from kdet.losses import Loss
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


@register
class DDODHead(AnchorHead):
    """ATSS' head with an assignment for each task, by predictions, and levels that weigh by their share.

    The first convolution of each tower is deformable. A level counts the more in the losses, between once
    and twice, the fewer positives it has had since the training began.

    Args:
        box_assigner: of boxes and overlaps; ``assigner`` is that of classes. Both have an ``alpha``.
        loss_iou: loss of the predicted IoU.
        stacked_convs, filters, norm: the towers.
        other arguments: see ``AnchorHead``; ``loss_bbox`` must take boxes.

    Outputs: ``(scores, deltas, IoUs)``, tuples of ``[B,h,w,A*classes]``, ``[B,h,w,A*4]`` and ``[B,h,w,A]``.
    """

    training_state = ("_positives",)

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        box_assigner: ATSSAssigner,
        loss_iou: Loss,
        stacked_convs: int = 4,
        filters: int = 256,
        norm: Norm = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.box_assigner, self.loss_iou = box_assigner, loss_iou

        def tower() -> list[ConvModule]:
            return [
                ConvModule(
                    filters, 3, padding=1, norm=norm, conv="dcn" if i == 0 else None,
                    kernel_initializer=small_normal(),
                )
                for i in range(stacked_convs)
            ]  # fmt: skip

        self.cls_convs, self.reg_convs = tower(), tower()
        self.atss_cls = prediction(self.num_anchors * num_classes, probability=0.01)
        self.atss_reg = prediction(self.num_anchors * 4)
        self.atss_iou = prediction(self.num_anchors)
        self.scales = [Scale() for _ in anchor_generator.strides]
        self._positives = self.add_weight(
            name="positives", shape=(len(self.scales),), initializer="zeros", trainable=False,
            dtype="float32", aggregation="mean",
        )  # fmt: skip

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        levels = []
        for x, scale in zip(features, self.scales, strict=True):
            cls, reg = apply_tower(self.cls_convs, x), apply_tower(self.reg_convs, x)
            levels.append((self.atss_cls(cls), scale(self.atss_reg(reg)), self.atss_iou(reg)))
        return tuple(zip(*levels))

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        overlaps = (tf.sigmoid(flatten_map(x, 1)[..., 0]) for x in outputs[2])
        for level, factor in zip(super().level_predictions(outputs), overlaps):
            yield level._replace(factor=factor)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_cls``, ``loss_bbox`` and ``loss_iou``."""
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.anchor_generator(shapes), 0)  # [P, 4]
        sizes = [h * w * self.num_anchors for h, w in shapes]
        usable = self.usable(anchors, shapes, info)
        scores, predicted = (
            flatten_levels(outputs[0], self.num_classes),
            flatten_levels(outputs[2], 1)[..., 0],
        )
        decoded = self.coder.decode(anchors, flatten_levels(outputs[1], 4))  # [B, P, 4]

        def assigned(assigner: ATSSAssigner) -> Assignment:
            known = tf.stop_gradient(decoded), tf.stop_gradient(tf.sigmoid(scores))
            return assigner(anchors, targets, usable, known[0], scores=known[1], level_sizes=sizes)

        mine = assigned(self.assigner)
        weight = self.level_weights(mine, sizes)  # of all that there were until here
        labels = mine.labels(targets, background=self.num_classes)
        loss_cls = self.loss_cls(scores, labels, mine.weight * weight, _count(mine))

        mine = assigned(self.box_assigner)
        weight = self.level_weights(mine, sizes) * tf.cast(mine.positive, tf.float32)
        boxes = mine.gather(targets["boxes"])
        overlap = tf.stop_gradient(geometry.aligned_iou(decoded, boxes))
        return {
            "loss_cls": loss_cls,
            "loss_bbox": self.loss_bbox(decoded, boxes, weight, _count(mine)),
            "loss_iou": self.loss_iou(predicted, overlap, weight, _count(mine)),
        }

    def level_weights(self, assignment: Assignment, sizes: Sequence[Any]) -> Tensor:
        """Weight of every prior by its level ``[P]``; the positives of the assignment are added first."""
        positive = tf.reduce_sum(tf.cast(assignment.positive, tf.float32), 0)  # [P]
        counts = tf.stack(
            [tf.reduce_sum(part) for part in tf.split(positive, tf.stack(sizes), num=len(sizes))]
        )
        known = tf.convert_to_tensor(self._positives) + replica_mean(counts)
        self._positives.assign(known)
        least, most = tf.reduce_min(known), tf.reduce_max(known)
        return tf.repeat(2.0 - (known - least) / (most - least + 1e-10), tf.stack(sizes))


def _count(assignment: Assignment) -> Tensor:
    return tf.maximum(replica_mean(assignment.count_positive()), 1.0)
