"""The head of SSD (Liu et al., 2015)."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.assigners import Assigner
from kdet.coders import Coder
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map
from kdet.heads.dense.towers import apply_tower, small_normal
from kdet.layers import Conv2D, ConvModule
from kdet.losses import CrossEntropyLoss, Loss, SmoothL1Loss
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


class SoftmaxAnchorHead(AnchorHead):
    """An anchor head whose classes compete, background among them, trained on its hardest negatives.

    Args:
        neg_pos_ratio: negatives per positive in the class loss: those with the largest loss, by image.
        all_negatives_without_objects: an image without positives counts all its negatives, not none.
        other arguments: see ``AnchorHead``.
    """

    def __init__(
        self, *args: Any, neg_pos_ratio: int = 3, all_negatives_without_objects: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.neg_pos_ratio = neg_pos_ratio
        self.all_negatives_without_objects = all_negatives_without_objects

    @property
    def score_channels(self) -> int:
        """Classes and, behind them, background."""
        return self.num_classes + 1

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, deltas in zip(*outputs[:2]):
            scores = tf.nn.softmax(flatten_map(scores, self.score_channels))[..., :-1]
            yield LevelPrediction(scores, tf.identity, flatten_map(deltas, 4))

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        scores = flatten_levels(outputs[0], self.score_channels)
        deltas = flatten_levels(outputs[1], 4)
        labels = assignment.labels(targets, background=self.num_classes)
        each = self.loss_cls.elementwise(scores, labels) * assignment.weight  # [B, P]
        return {
            "loss_cls": self.loss_cls.loss_weight * self.mined_loss(each, assignment) / normalizer,
            "loss_bbox": self.box_loss(anchors, deltas, assignment, targets, normalizer),
        }

    def mined_loss(self, losses: Tensor, assignment: Assignment) -> Tensor:
        """Sum of the positives' losses and of the hardest negatives' (OHEM), over the batch.

        Args:
            losses: ``[B,P]``.
            assignment: ``Assignment [B,P]``.
        """
        positive, negative = assignment.positive, assignment.negative
        count = tf.reduce_sum(tf.cast(positive, tf.int32), 1, keepdims=True)  # [B, 1]
        budget = self.neg_pos_ratio * count
        if self.all_negatives_without_objects:
            budget = tf.where(count > 0, budget, tf.shape(losses)[1])
        hardest = tf.sort(tf.where(negative, losses, 0.0), axis=1, direction="DESCENDING")
        chosen = tf.range(tf.shape(losses)[1])[None, :] < budget
        return tf.reduce_sum(tf.where(positive, losses, 0.0)) + tf.reduce_sum(tf.where(chosen, hardest, 0.0))


@register
class SSDHead(SoftmaxAnchorHead):
    """One convolution for classes and one for boxes on every level, not shared.

    Args:
        neg_pos_ratio: hard negatives per positive in the class loss.
        loss_cls, loss_bbox: cross entropy and smooth L1 when None.
        in_channels: of the levels, for a depthwise 3x3 convolution of each before 1x1 predictions (SSDLite);
            None: the predictions are 3x3.
        norm, activation: of the depthwise convolutions.
        other arguments: see ``AnchorHead``.

    Outputs: ``(scores, deltas)``, tuples of ``[B,h,w,A*(classes+1)]``, ``[B,h,w,A*4]``.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        coder: Coder,
        assigner: Assigner,
        neg_pos_ratio: int = 3,
        loss_cls: Loss | None = None,
        loss_bbox: Loss | None = None,
        in_channels: Sequence[int] | None = None,
        norm: Norm = None,
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            anchor_generator=anchor_generator,
            coder=coder,
            loss_cls=loss_cls or CrossEntropyLoss(),
            loss_bbox=loss_bbox or SmoothL1Loss(beta=1.0),
            assigner=assigner,
            neg_pos_ratio=neg_pos_ratio,
            **kwargs,
        )

        def level(count: int, width: int | None, channels: int) -> list[keras.Layer]:
            if width is None:
                return [Conv2D(count * channels, 3, padding=1, kernel_initializer="glorot_uniform")]
            depthwise = ConvModule(
                width, 3, padding=1, groups=width, norm=norm, activation=activation,
                kernel_initializer=small_normal(0.001),
            )  # fmt: skip
            return [depthwise, Conv2D(count * channels, 1, kernel_initializer=small_normal(0.001))]

        # lists, as the checkpoints have sequences there
        def predictors(channels: int) -> list[list[keras.Layer]]:
            widths: Sequence[int | None] = in_channels or [None] * len(self.num_anchors)
            return [
                level(count, width, channels) for count, width in zip(self.num_anchors, widths, strict=True)
            ]

        self.cls_convs = predictors(self.score_channels)
        self.reg_convs = predictors(4)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        scores = tuple(apply_tower(convs, x) for convs, x in zip(self.cls_convs, features, strict=True))
        return scores, tuple(apply_tower(convs, x) for convs, x in zip(self.reg_convs, features, strict=True))
