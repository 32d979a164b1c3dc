"""The box head of YOLACT (Bolya et al., 2019)."""

from typing import Any, cast

import tensorflow as tf

from kdet.assigners import Assigner
from kdet.coders import Coder
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_map, level_shapes
from kdet.heads.dense.ssd import SoftmaxAnchorHead
from kdet.layers import Conv2D, ConvModule
from kdet.losses import Loss
from kdet.postprocess import top_rows
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Maps


@register
class YOLACTHead(SoftmaxAnchorHead):
    """Classes, deltas and mask coefficients from one shared tower.

    Args:
        stacked_convs, filters: of the tower.
        num_protos: mask coefficients per anchor.
        other arguments: see ``AnchorHead`` and ``SoftmaxAnchorHead``; ``postprocess.nms`` is a ``FastNMS``.

    Outputs: ``(scores, deltas, coefficients)``, tuples of ``[B,h,w,A*(classes+1)]``,
    ``[B,h,w,A*4]`` and ``[B,h,w,A*num_protos]``.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        coder: Coder,
        loss_cls: Loss,
        loss_bbox: Loss,
        assigner: Assigner,
        neg_pos_ratio: int = 3,
        stacked_convs: int = 1,
        filters: int = 256,
        num_protos: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            anchor_generator=anchor_generator,
            coder=coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            assigner=assigner,
            neg_pos_ratio=neg_pos_ratio,
            all_negatives_without_objects=True,
            **kwargs,
        )
        self.num_protos = num_protos

        def predictor(channels: int) -> Conv2D:
            return Conv2D(self.num_anchors * channels, 3, padding=1, kernel_initializer="glorot_uniform")

        self.head_convs = [
            ConvModule(filters, 3, padding=1, kernel_initializer="glorot_uniform")
            for _ in range(stacked_convs)
        ]
        self.conv_cls, self.conv_reg = predictor(self.score_channels), predictor(4)
        self.conv_coeff = predictor(num_protos)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        found = []
        for x in features:
            for conv in self.head_convs:
                x = conv(x)
            found.append((self.conv_cls(x), self.conv_reg(x), tf.tanh(self.conv_coeff(x))))
        return tuple(zip(*found))

    def assigned(self, outputs: Any, targets: Targets, info: ImageInfo) -> tuple[Losses, Assignment]:
        """``(losses by name, Assignment [B,P])``: the mask head learns on the same positives."""
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.priors(shapes), 0)
        assignment, normalizer = self.assign(anchors, shapes, targets, info)
        return self.assigned_losses(outputs, anchors, assignment, targets, normalizer), assignment

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections with ``coefficients [B,N,num_protos]``, in original pixels."""
        settings, found = self.postprocess, []
        levels = zip(self.priors(level_shapes(outputs[0])), self.level_predictions(outputs), outputs[2])
        for anchors, level, coefficients in levels:
            _, rows = top_rows(tf.reduce_max(level.scores, -1), settings.nms_pre)
            scores, deltas, coefficients = (
                tf.gather(x, rows, batch_dims=1)
                for x in (level.scores, level.regression, flatten_map(coefficients, self.num_protos))
            )
            found.append((self.decode_boxes(tf.gather(anchors, rows), deltas, info), scores, coefficients))
        boxes, scores, coefficients = (tf.concat(parts, 1) for parts in zip(*found))
        boxes = original_boxes(boxes, info)
        detections, rows = settings.nms(boxes, scores, settings.score_threshold, settings.max_per_image)
        coefficients = tf.gather(coefficients, rows, batch_dims=1)
        return cast(Detections, {**detections, "coefficients": coefficients})
