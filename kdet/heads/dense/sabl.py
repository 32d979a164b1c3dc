"""Side-aware boundary localization in one stage (Wang et al., 2020)."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet.coders import BucketingCoder
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction
from kdet.losses import Loss
from kdet.priors import AnchorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class SABLRetinaHead(AnchorHead):
    """RetinaNet's towers with one square per cell, whose sides are found by buckets.

    Args:
        anchor_generator: the squares.
        approx_generator: the anchors that a square stands for when it is assigned to an object.
        coder: ``BucketingCoder``.
        loss_bbox_cls, loss_bbox_reg: losses on buckets and offsets.
        assigner: ``ApproxMaxIoUAssigner``.
        stacked_convs, filters, norm: of the towers.
        other arguments: see ``AnchorHead``.

    Outputs: ``(scores, boxes)``, a map of scores and a pair of maps (buckets, offsets) of
    ``4 * side_buckets`` channels per level.
    """

    coder: BucketingCoder
    anchor_generator: AnchorGenerator

    def __init__(
        self,
        approx_generator: AnchorGenerator,
        loss_bbox_cls: Loss,
        loss_bbox_reg: Loss,
        stacked_convs: int = 4,
        filters: int = 256,
        norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(loss_bbox=loss_bbox_reg, **kwargs)
        self.approx_generator = approx_generator
        self.loss_bbox_cls, self.loss_bbox_reg = loss_bbox_cls, loss_bbox_reg
        self.cls_convs = conv_tower(stacked_convs, filters, norm=norm)
        self.reg_convs = conv_tower(stacked_convs, filters, norm=norm)
        self.sides = 4 * self.coder.side_buckets
        self.retina_cls = prediction(self.num_classes, probability=0.01)
        self.retina_bbox_reg, self.retina_bbox_cls = prediction(self.sides), prediction(self.sides)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        scores = [self.retina_cls(apply_tower(self.cls_convs, x)) for x in features]
        towers = [apply_tower(self.reg_convs, x) for x in features]
        return tuple(scores), tuple((self.retina_bbox_cls(x), self.retina_bbox_reg(x)) for x in towers)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, (buckets, offsets) in zip(*outputs):
            buckets, offsets = flatten_map(buckets, self.sides), flatten_map(offsets, self.sides)
            regression = tf.concat([buckets, offsets], -1)
            yield LevelPrediction(
                flatten_map(scores, self.num_classes),
                tf.sigmoid,
                regression,
                self.coder.confidence(buckets),
            )

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        buckets, offsets = tf.split(regression, 2, -1)
        return self.coder.decode(priors, buckets, offsets, info["valid_size"])

    def assigned_priors(self, anchors: Tensor, shapes: Sequence[Shape]) -> Tensor:
        return self.approx_generator.by_cell(shapes)

    def assigned_losses(
        self, outputs: Any, squares: Tensor, assignment: Assignment, targets: Targets, count: Tensor
    ) -> Losses:
        """``{"loss_cls", "loss_bbox_cls", "loss_bbox_reg"}``; see ``AnchorHead``."""
        scores = flatten_levels(outputs[0], self.num_classes)
        labels = assignment.labels(targets, background=self.num_classes)
        positive = assignment.positive[..., None]
        boxes = tf.where(positive, assignment.gather(targets["boxes"]), squares)
        buckets, bucket_weights, offsets, offset_weights = self.coder.encode(squares, boxes)
        positive = tf.cast(positive, tf.float32)[..., None]
        predicted = [self.coder.per_side(flatten_levels(maps, self.sides)) for maps in zip(*outputs[1])]
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, count),
            "loss_bbox_cls": self.loss_bbox_cls(
                predicted[0], buckets, bucket_weights * positive, count * self.sides
            ),
            "loss_bbox_reg": self.loss_bbox_reg(
                predicted[1], offsets, offset_weights * positive, count * 4 * self.coder.num_offsets
            ),
        }
