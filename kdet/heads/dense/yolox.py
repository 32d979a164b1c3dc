"""The head of YOLOX (Ge et al., 2021, arXiv:2107.08430): decoupled towers, no anchors."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.assigners import Assigner
from kdet.contract import Assignment, Candidates, ImageInfo, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses
from kdet.heads.dense.base import DenseHead, flatten_levels, level_shapes
from kdet.heads.dense.towers import apply_tower, prior_bias
from kdet.layers import Conv2D, replica_mean, swish_conv
from kdet.layers.csp import uniform_kernel
from kdet.losses import Loss
from kdet.postprocess import INVALID_SCORE, PostProcess
from kdet.priors import PointGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class YOLOXHead(DenseHead):
    """Class scores, a box and objectness at every cell; every level has towers of its own.

    A box is predicted as its center, in strides from the cell's corner, and the logarithms of its sides in
    strides. The losses are sums over the cells, divided by the number of positives; those of class and box
    count positives only. The later losses have one on the predictions themselves.

    Args:
        num_classes: classes without background.
        strides: of the levels.
        assigner: ``SimOTAAssigner``.
        loss_cls, loss_bbox, loss_obj: of classes, boxes and objectness.
        loss_l1: of the predictions of boxes, in the later phase (``train.late_losses_from``).
        stacked_convs: convolutions of each tower.
        filters: their channels, and those of the features.
        separable: they are separable (YOLOX-nano).
        postprocess: ``PostProcess``; every cell gives its best class as a candidate, with a score that is not
            below ``score_threshold``, and ``nms_pre`` plays no part.

    Outputs: ``(scores, boxes, objectness)``, tuples over the levels of ``[B,h,w,classes]``, ``[B,h,w,4]`` and
    ``[B,h,w,1]``.
    """

    has_late_losses = True

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        assigner: Assigner,
        loss_cls: Loss,
        loss_bbox: Loss,
        loss_obj: Loss,
        loss_l1: Loss,
        stacked_convs: int = 2,
        filters: int = 256,
        separable: bool = False,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess, **kwargs)
        self.assigner = assigner
        self.loss_cls, self.loss_bbox, self.loss_obj, self.loss_l1 = loss_cls, loss_bbox, loss_obj, loss_l1
        self.corners, self.middles = PointGenerator(strides, offset=0.0), PointGenerator(strides)

        def towers() -> list[list[Any]]:
            return [
                [swish_conv(filters, filters, 3, separable=separable) for _ in range(stacked_convs)]
                for _ in strides
            ]

        def predictions(channels: int, bias: Any) -> list[Conv2D]:
            return [
                Conv2D(channels, 1, kernel_initializer=uniform_kernel(), bias_initializer=bias)
                for _ in strides
            ]

        self.multi_level_cls_convs, self.multi_level_reg_convs = towers(), towers()
        self.multi_level_conv_cls = predictions(num_classes, prior_bias(0.01))
        self.multi_level_conv_reg = predictions(4, "zeros")
        self.multi_level_conv_obj = predictions(1, prior_bias(0.01))

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        levels = []
        for i, x in enumerate(features):
            cls = apply_tower(self.multi_level_cls_convs[i], x)
            reg = apply_tower(self.multi_level_reg_convs[i], x)
            predicted = self.multi_level_conv_reg[i](reg), self.multi_level_conv_obj[i](reg)
            levels.append((self.multi_level_conv_cls[i](cls), *predicted))
        return tuple(zip(*levels))

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.corners(shapes)

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo | None = None) -> Tensor:
        xy, stride = priors[..., :2], priors[..., 2:]
        center, size = regression[..., :2] * stride + xy, tf.exp(regression[..., 2:]) * stride
        return geometry.from_center_size(tf.concat([center, size], -1))

    def flat(self, outputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores ``[B,P,C]``, boxes ``[B,P,4]`` and objectness ``[B,P]`` as predicted; corners ``[P,3]``."""
        scores, boxes, objectness = (
            flatten_levels(maps, width) for maps, width in zip(outputs, (self.num_classes, 4, 1), strict=True)
        )
        return scores, boxes, objectness[..., 0], tf.concat(self.priors(level_shapes(outputs[0])), 0)

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        scores, boxes, objectness, priors = self.flat(outputs)
        scores = tf.sigmoid(scores)
        best = tf.reduce_max(scores, -1) * tf.sigmoid(objectness)
        best = tf.where(best >= self.postprocess.score_threshold, best, INVALID_SCORE)
        boxes = original_boxes(self.decode_boxes(priors, boxes), info)
        return Candidates(boxes, best, tf.argmax(scores, -1, tf.int32))

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_cls``, ``loss_bbox``, ``loss_obj``, and in the later phase ``loss_l1``."""
        scores, boxes, objectness, priors = self.flat(outputs)
        assignment = self.assign(scores, boxes, objectness, level_shapes(outputs[0]), targets)
        positive = tf.cast(assignment.positive, tf.float32)  # [B, P]
        total = tf.maximum(replica_mean(tf.reduce_sum(positive)), 1.0)
        labels = assignment.labels(targets, background=self.num_classes)
        soft = tf.one_hot(labels, self.num_classes) * tf.expand_dims(assignment.overlaps, -1)
        wanted = assignment.gather(targets["boxes"])  # [B, P, 4]
        boxes = tf.where(assignment.positive[..., None], boxes, 0.0)  # others may be beyond all numbers
        losses = {
            "loss_cls": self.loss_cls(scores, soft, positive, total),
            "loss_bbox": self.loss_bbox(self.decode_boxes(priors, boxes), wanted, positive, total),
            "loss_obj": self.loss_obj(objectness, positive, None, total),
        }
        if self.late_losses:
            losses["loss_l1"] = self.loss_l1(boxes, encode(priors, wanted), positive, total)
        return losses

    def assign(
        self, scores: Tensor, boxes: Tensor, objectness: Tensor, shapes: Sequence[Shape], targets: Targets
    ) -> Assignment:
        """Which cell answers for which object, by what is predicted there."""
        scores, boxes, objectness = (tf.stop_gradient(x) for x in (scores, boxes, objectness))
        corners, middles = (tf.concat(points(shapes), 0) for points in (self.corners, self.middles))
        return self.assigner(
            middles,
            targets,
            predictions=self.decode_boxes(corners, boxes),
            scores=tf.sigmoid(scores) * tf.sigmoid(objectness)[..., None],
        )


def encode(priors: Tensor, boxes: Tensor) -> Tensor:
    """What the head should predict at ``priors [P,3]`` for ``boxes [B,P,4]``."""
    box, stride = geometry.to_center_size(boxes), priors[:, 2:]
    center = (box[..., :2] - priors[:, :2]) / stride
    return tf.concat([center, tf.math.log(tf.maximum(box[..., 2:], 0.0) / stride + 1e-8)], -1)
