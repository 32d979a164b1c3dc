"""The head of YOLOv3 (Redmon & Farhadi, 2018)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.assigners import Assigner
from kdet.coders import Coder
from kdet.contract import Candidates, ImageInfo, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses
from kdet.heads.dense.base import DenseHead, flatten_levels, level_shapes
from kdet.heads.dense.towers import prior_bias
from kdet.layers import Conv2D, darknet_conv
from kdet.losses import Loss
from kdet.postprocess import INVALID_SCORE, PostProcess, top_candidates
from kdet.priors import PriorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Tensor


class _PredictionBias(keras.initializers.Initializer):
    """Starts with eight objects per map and rare classes; box biases are zero."""

    def __init__(self, stride: int, num_classes: int) -> None:
        self.stride, self.num_classes = stride, num_classes

    def __call__(self, shape: Any, dtype: Any = None) -> Tensor:
        parts = [
            tf.zeros([4]),
            prior_bias(8 / (608 / self.stride) ** 2)([1]),
            prior_bias(0.01)([self.num_classes]),
        ]
        one = tf.concat([tf.cast(p, tf.float32) for p in parts], 0)
        return tf.cast(tf.tile(one, [shape[0] // len(one)]), dtype or tf.float32)


@register
class YOLOV3Head(DenseHead):
    """Box, objectness and classes of every anchor from one convolution per level.

    The losses are sums over anchors and images, not means: the published rate is meant for eight images
    per device, whose gradients are averaged over the devices.

    Args:
        num_classes, postprocess: see ``DenseHead``; ``nms_pre`` bounds the candidates of all levels together.
        filters: channels of each level's 3x3 convolution, coarse to fine.
        anchor_generator, coder, assigner: as for ``AnchorHead``; the coder takes strides.
        loss_cls, loss_conf, loss_xy, loss_wh: of classes, objectness, centers and sides.
        objectness_threshold: anchors below it are no candidates.

    Outputs: ``(predictions,)``, a tuple of ``[B,h,w,A*(5+classes)]``; per anchor (x, y, w,
    h, objectness, classes).
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        coder: Coder,
        assigner: Assigner,
        loss_cls: Loss,
        loss_conf: Loss,
        loss_xy: Loss,
        loss_wh: Loss,
        filters: Sequence[int] = (1024, 512, 256),
        objectness_threshold: float = 0.005,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess, **kwargs)
        self.anchor_generator, self.coder, self.assigner = anchor_generator, coder, assigner
        self.loss_cls, self.loss_conf, self.loss_xy, self.loss_wh = loss_cls, loss_conf, loss_xy, loss_wh
        self.objectness_threshold = objectness_threshold
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.convs_bridge = [darknet_conv(width, 3, kernel_initializer=normal) for width in filters]
        self.convs_pred = [
            Conv2D(
                anchor_generator.num_anchors * (5 + num_classes), 1,
                kernel_initializer=normal, bias_initializer=_PredictionBias(stride, num_classes),
            )
            for stride in anchor_generator.strides
        ]  # fmt: skip

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[tuple[Any, ...]]:
        levels = zip(self.convs_bridge, self.convs_pred, features, strict=True)
        return (tuple(predict(bridge(x)) for bridge, predict, x in levels),)

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.anchor_generator(shapes)

    def flat(self, outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions ``[B,P,5+classes]``, anchors ``[P,4]`` and strides ``[P,1]`` of all levels."""
        priors = self.priors(level_shapes(outputs[0]))
        steps = zip(priors, self.anchor_generator.strides)
        strides = [tf.fill([tf.shape(anchors)[0], 1], float(stride)) for anchors, stride in steps]
        return flatten_levels(outputs[0], 5 + self.num_classes), tf.concat(priors, 0), tf.concat(strides, 0)

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        predictions, anchors, strides = self.flat(outputs)
        objectness, classes = tf.sigmoid(predictions[..., 4:5]), tf.sigmoid(predictions[..., 5:])
        possible = (classes > self.postprocess.score_threshold) & (objectness >= self.objectness_threshold)
        scores = tf.where(possible, classes * objectness, INVALID_SCORE)
        scores, rows, labels = top_candidates(scores, self.postprocess.nms_pre)
        chosen = tf.gather(predictions[..., :4], rows, batch_dims=1)
        boxes = self.coder.decode(tf.gather(anchors, rows), chosen, tf.gather(strides, rows))
        return Candidates(original_boxes(boxes, info), scores, labels)

    def responsible(self, anchors: Tensor, strides: Sequence[int], targets: Targets) -> Tensor:
        """Anchors whose cell holds the center of an object: bool ``[B,P]``."""
        centers = (targets["boxes"][..., :2] + targets["boxes"][..., 2:]) * 0.5  # [B, G, 2]
        cells = tf.floor((anchors[:, :2] + anchors[:, 2:]) * 0.5 / strides)  # [P, 2]
        same = tf.reduce_all(tf.floor(centers[:, :, None] / strides) == cells, -1)  # [B, G, P]
        return tf.reduce_any(same & (targets["labels"] >= 0)[..., None], 1)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Sums over the batch: ``loss_cls``, ``loss_conf``, ``loss_xy``, ``loss_wh``."""
        predictions, anchors, strides = self.flat(outputs)
        assignment = self.assigner(anchors, targets, self.responsible(anchors, strides, targets))
        encoded = self.coder.encode(anchors, assignment.gather(targets["boxes"]), strides)
        labels = assignment.labels(targets, background=self.num_classes)
        positive = tf.cast(assignment.positive, tf.float32)
        return {
            "loss_cls": self.loss_cls(predictions[..., 5:], labels, positive, 1.0),
            "loss_conf": self.loss_conf(predictions[..., 4], positive, assignment.weight, 1.0),
            "loss_xy": self.loss_xy(predictions[..., :2], encoded[..., :2], positive, 1.0),
            "loss_wh": self.loss_wh(predictions[..., 2:4], encoded[..., 2:], positive, 1.0),
        }
