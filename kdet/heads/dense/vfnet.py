"""VarifocalNet (Zhang et al., 2021): boxes refined by looking at nine points of themselves."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import geometry
from kdet.coders import DistanceCoder
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.towers import Scale, apply_tower, conv_tower, prediction
from kdet.layers import ConvModule, DeformConv2D, replica_mean
from kdet.losses import Loss
from kdet.priors import PointGenerator, PriorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


def star_offsets(distances: Tensor, stride: int) -> Tensor:
    """Offsets that put a 3x3 kernel on the corners, the middles of the sides and the center of a box.

    Args:
        distances: ``[B,h,w,4]`` left, top, right, bottom in pixels.
        stride: pixels per cell.

    Returns:
        ``[B,h,w,18]``, (y, x) per kernel cell, relative to the kernel's own grid.
    """
    left, top, right, bottom = tf.unstack(distances / stride, axis=-1)
    zero = tf.zeros_like(left)
    rows = tf.stack([1.0 - top, zero, bottom - 1.0], -1)  # the grid's own rows are -1, 0, 1
    columns = tf.stack([1.0 - left, zero, right - 1.0], -1)
    y, x = tf.repeat(rows, 3, -1), tf.concat([columns] * 3, -1)
    return tf.reshape(tf.stack([y, x], -1), tf.concat([tf.shape(y)[:3], [18]], 0))


@register
class VFNetHead(AnchorHead):
    """Scores that tell the IoU, and distances in two steps; anchors serve to assign objects only.

    Args:
        size_units: per level, the distance in pixels that the first regression counts in.
        gradient_mul: share of the gradient that flows from the sampling points into the first boxes.
        loss_bbox, loss_bbox_refine: losses of the first and the refined boxes.
        last_conv: spec of each tower's last convolution where it is not a plain one.
        stacked_convs, filters, norm: the towers, see ``RetinaHead``.
        other arguments: see ``AnchorHead``; ``loss_cls`` takes soft targets.

    Outputs: ``(scores, refined distances, first distances)``, tuples of
    ``[B,h,w,classes]`` and twice ``[B,h,w,4]`` in pixels.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        loss_bbox_refine: Loss,
        size_units: Sequence[float] = (64, 128, 256, 512, 1024),
        gradient_mul: float = 0.1,
        stacked_convs: int = 3,
        filters: int = 256,
        norm: str | Spec | None = None,
        last_conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, anchor_generator=anchor_generator, coder=DistanceCoder(), **kwargs
        )
        self.loss_bbox_refine = loss_bbox_refine
        self.size_units, self.gradient_mul = tuple(size_units), gradient_mul
        self.point_generator = PointGenerator(anchor_generator.strides, offset=0.0)
        self.cls_convs, self.reg_convs = (
            conv_tower(stacked_convs, filters, norm=norm, last_conv=last_conv) for _ in range(2)
        )
        self.vfnet_reg_conv = ConvModule(filters, 3, padding=1, norm=norm)
        self.vfnet_reg, self.vfnet_reg_refine = prediction(4), prediction(4)
        self.vfnet_cls = prediction(num_classes, probability=0.01)
        self.vfnet_reg_refine_dconv, self.vfnet_cls_dconv = (
            DeformConv2D(filters, 3, padding=1, use_bias=False) for _ in range(2)
        )
        self.scales, self.scales_refine = ([Scale() for _ in self.size_units] for _ in range(2))

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        parts = (features, self.scales, self.scales_refine, self.anchor_generator.strides, self.size_units)
        return tuple(zip(*(self.level(*level) for level in zip(*parts, strict=True))))

    def level(
        self, x: Tensor, scale: Scale, scale_refine: Scale, stride: int, unit: float
    ) -> tuple[Tensor, ...]:
        """Outputs of one level."""
        cls, reg = apply_tower(self.cls_convs, x), apply_tower(self.reg_convs, x)
        first = tf.exp(scale(self.vfnet_reg(self.vfnet_reg_conv(reg)))) * unit
        fixed = tf.stop_gradient(first)
        offsets = star_offsets(fixed + self.gradient_mul * (first - fixed), stride)
        reg = tf.nn.relu(self.vfnet_reg_refine_dconv(reg, offsets))
        refined = tf.exp(scale_refine(self.vfnet_reg_refine(reg))) * fixed
        cls = tf.nn.relu(self.vfnet_cls_dconv(cls, offsets))
        return self.vfnet_cls(cls), refined, first

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.point_generator(shapes)

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        points = tf.concat(self.priors(level_shapes(outputs[0])), 0)  # [P, 3]
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        positive = tf.cast(assignment.positive, tf.float32)

        def regression(distances: Maps, loss: Loss) -> tuple[Tensor, Tensor]:
            """Loss of boxes weighed by their own IoU, and the IoU."""
            decoded = self.coder.decode(points, flatten_levels(distances, 4))
            iou = tf.maximum(tf.stop_gradient(geometry.aligned_iou(decoded, boxes)), 1e-6) * positive
            return loss(decoded, boxes, iou, tf.maximum(replica_mean(tf.reduce_sum(iou)), 1.0)), iou

        loss_bbox, _ = regression(outputs[2], self.loss_bbox)
        loss_refined, iou = regression(outputs[1], self.loss_bbox_refine)
        labels = assignment.labels(targets, background=self.num_classes)
        soft = tf.one_hot(labels, self.num_classes) * iou[..., None]
        count = tf.maximum(replica_mean(tf.reduce_sum(positive)), 1.0)
        scores = flatten_levels(outputs[0], self.num_classes)
        return {
            # anchors in the padding count as background here
            "loss_cls": self.loss_cls(scores, soft, None, count),
            "loss_bbox": loss_bbox,
            "loss_bbox_rf": loss_refined,
        }
