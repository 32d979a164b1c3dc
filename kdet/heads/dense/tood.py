"""The head of TOOD (Feng et al., 2021, arXiv:2108.07755): class and box from shared features, aligned."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry, ops
from kdet.assigners import Assigner
from kdet.coders import DistanceCoder, centerness
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.towers import Scale, prediction, prior_bias, small_normal
from kdet.layers import Composite, Conv2D, ConvModule, apply_list, replica_mean
from kdet.losses import Loss
from kdet.priors import PriorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


class TaskDecomposition(Composite):
    """Features of one task: the shared layers, weighed by how much each matters here, in one convolution.

    Call: ``x [B,h,w,depth*filters], mean [B,1,1,depth*filters] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, depth: int, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth
        units = max(filters // 8, 1)
        self.layer_attention = [
            Conv2D(units, 1, kernel_initializer=small_normal(0.001)),
            None,
            Conv2D(depth, 1, kernel_initializer=small_normal(0.001)),
        ]
        self.reduction_conv = ConvModule(filters, 1, norm=norm, kernel_initializer=small_normal())

    def call(self, x: Tensor, mean: Tensor) -> Tensor:
        weight = tf.sigmoid(apply_list(self.layer_attention, mean))  # [B, 1, 1, depth]
        weight = tf.repeat(weight, x.shape[-1] // self.depth, axis=-1)
        return self.reduction_conv(x * tf.cast(weight, x.dtype))


@register
class TOODHead(AnchorHead):
    """One tower for both tasks, taken apart for each; probabilities and decoded boxes per cell.

    In the first phase of training objects are assigned by ``first_assigner`` alone; in the later one
    (``train.late_losses_from``) by what the head predicts, which the classes are to be as sure as.

    Args:
        first_assigner: of the first phase; ``assigner``, a ``TaskAlignedAssigner``, of the later.
        first_loss_cls: loss of probabilities against labels, of the first phase; ``loss_cls`` takes
            probabilities and soft targets.
        stacked_convs, filters, norm: of the tower.
        deformable_convs: so many of its first convolutions are deformable.
        anchor_based: boxes are deltas of the anchor; else distances from its center.
        other arguments: see ``AnchorHead``; ``loss_bbox`` must take boxes.

    Outputs: ``(probabilities, boxes)``, tuples of ``[B,h,w,classes]`` and ``[B,h,w,4]``; boxes in strides.
    """

    has_late_losses = True

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        first_assigner: Assigner,
        first_loss_cls: Loss,
        stacked_convs: int = 6,
        filters: int = 256,
        norm: Norm = None,
        deformable_convs: int = 0,
        anchor_based: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.first_assigner, self.first_loss_cls = first_assigner, first_loss_cls
        self.anchor_based = anchor_based
        deformable = {"kind": "dcn_v2", "deform_groups": 4}
        self.inter_convs = [
            ConvModule(
                filters, 3, padding=1, norm=norm, conv=deformable if i < deformable_convs else None,
                kernel_initializer=small_normal(),
            )
            for i in range(stacked_convs)
        ]  # fmt: skip
        self.cls_decomp = TaskDecomposition(filters, stacked_convs, norm)
        self.reg_decomp = TaskDecomposition(filters, stacked_convs, norm)
        self.tood_cls = prediction(num_classes, probability=0.01)
        self.tood_reg = prediction(4)
        self.cls_prob_module = _two_convs(filters // 4, 1, 0.01, prior_bias(0.01))
        self.reg_offset_module = _two_convs(filters // 4, 8, 0.001, "zeros")
        self.scales = [Scale() for _ in anchor_generator.strides]

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        anchors = self.anchor_generator(level_shapes(features))
        levels = zip(features, self.scales, anchors, self.anchor_generator.strides, strict=True)
        return tuple(zip(*(self.level(*level) for level in levels)))

    def level(self, x: Tensor, scale: Scale, anchors: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Outputs of one level."""
        inner = []
        for conv in self.inter_convs:
            x = conv(x)
            inner.append(x)
        x = tf.concat(inner, -1)
        mean = tf.reduce_mean(x, [1, 2], keepdims=True)
        logits, aligned = self.tood_cls(self.cls_decomp(x, mean)), apply_list(self.cls_prob_module, x)
        # the geometric mean of both probabilities
        log_score, log_aligned = (tf.math.log_sigmoid(tf.cast(x, tf.float32)) for x in (logits, aligned))
        distances = self.tood_reg(self.reg_decomp(x, mean))
        distances = tf.cast(distances, tf.float32)
        boxes = self.decoded(scale(distances if self.anchor_based else tf.exp(distances)), anchors, stride)
        offsets = tf.cast(apply_list(self.reg_offset_module, x), tf.float32)
        return tf.exp(0.5 * (log_score + log_aligned)), resampled(boxes, offsets)

    def decoded(self, regression: Tensor, anchors: Tensor, stride: int) -> Tensor:
        """Boxes in strides ``[B,h,w,4]`` from what is predicted at anchors ``[h*w,4]``."""
        flat = flatten_map(regression, 4)
        if self.anchor_based:
            boxes = self.coder.decode(anchors, flat) / stride
        else:
            boxes = DistanceCoder().decode(geometry.centers(anchors) / stride, flat)
        return tf.reshape(boxes, tf.shape(regression))

    # ---- inference

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, boxes, stride in zip(*outputs, self.anchor_generator.strides, strict=True):
            scores = flatten_map(scores, self.num_classes)
            yield LevelPrediction(scores, tf.identity, flatten_map(boxes, 4) * stride)

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        return regression  # not cut to the image

    # ---- training

    def assign_predicted(
        self, outputs: Any, anchors: Tensor, shapes: Sequence[Shape], targets: Targets, info: ImageInfo
    ) -> Assignment:
        """The assignment of the later phase, ``[B,P]``."""
        levels = [tf.stop_gradient(level.regression) for level in self.level_predictions(outputs)]
        scores = tf.stop_gradient(flatten_levels(outputs[0], self.num_classes))
        usable = self.usable(anchors, shapes, info)
        return self.assigner(anchors, targets, usable, tf.concat(levels, 1), scores=scores)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_cls`` and ``loss_bbox``."""
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.anchor_generator(shapes), 0)  # [P, 4]
        if self.late_losses:
            assignment = self.assign_predicted(outputs, anchors, shapes, targets, info)
        else:
            sizes = [h * w for h, w in shapes]
            usable = self.usable(anchors, shapes, info)
            assignment = self.first_assigner(anchors, targets, usable, level_sizes=sizes)
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        labels = assignment.labels(targets, background=self.num_classes)
        positive = tf.cast(assignment.positive, tf.float32)
        if self.late_losses:
            quality = weight = assignment.overlaps * positive
            wanted, loss_cls = tf.one_hot(labels, self.num_classes) * quality[..., None], self.loss_cls
        else:
            quality, wanted, loss_cls = positive, labels, self.first_loss_cls
            distances = DistanceCoder().encode(geometry.centers(anchors), boxes)
            weight = centerness(distances, assignment.positive)
        strides = tf.concat(
            [tf.fill([h * w, 1], float(s)) for (h, w), s in zip(shapes, self.anchor_generator.strides)], 0
        )
        scores = flatten_levels(outputs[0], self.num_classes)
        return {
            "loss_cls": loss_cls(scores, wanted, assignment.weight, _total(quality)),
            "loss_bbox": self.loss_bbox(
                flatten_levels(outputs[1], 4), boxes / strides, weight, _total(weight)
            ),
        }


def resampled(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Each side of boxes ``[B,h,w,4]`` as it is at its own offset ``[B,h,w,8]`` (y, x in cells).

    A box that is turned inside out by it stays what it was.
    """
    moved = ops.deform_conv2d(boxes, tf.ones([1, 1, 1, 4]), offsets, groups=4, deform_groups=4)
    inverted = tf.reduce_any(moved[..., :2] > moved[..., 2:], -1, keepdims=True)
    return tf.where(inverted, boxes, moved)


def _two_convs(units: int, channels: int, deviation: float, bias: Any) -> list[Any]:
    return [
        Conv2D(units, 1, kernel_initializer=small_normal(deviation)),
        None,
        Conv2D(channels, 3, padding=1, kernel_initializer=small_normal(deviation), bias_initializer=bias),
    ]


def _total(weight: Tensor) -> Tensor:
    return tf.maximum(replica_mean(tf.reduce_sum(weight)), 1.0)
