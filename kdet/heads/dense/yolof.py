"""The head of YOLOF (Chen et al., 2021): one level, objectness inside the class scores."""

from typing import Any

import tensorflow as tf

from kdet.assigners import UniformAssigner
from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction
from kdet.layers import replica_mean
from kdet.priors import PriorGenerator
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class YOLOFHead(AnchorHead):
    """Two towers on one map; objectness moves the class scores down where there is nothing.

    Args:
        num_cls_convs, num_reg_convs: convolutions of the towers.
        filters: their channels.
        norm: their norm.
        other arguments: see ``AnchorHead``; the assigner is a ``UniformAssigner``, ``loss_bbox`` takes boxes.

    Outputs: ``(scores, deltas)``, tuples of one ``[B,h,w,A*classes]`` and ``[B,h,w,A*4]``.
    """

    assigner: UniformAssigner

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        num_cls_convs: int = 2,
        num_reg_convs: int = 4,
        filters: int = 512,
        norm: str | Spec | None = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.cls_subnet = conv_tower(num_cls_convs, filters, norm=norm)
        self.bbox_subnet = conv_tower(num_reg_convs, filters, norm=norm)
        self.cls_score = prediction(self.num_anchors * num_classes, probability=0.01)
        self.bbox_pred, self.object_pred = prediction(self.num_anchors * 4), prediction(self.num_anchors)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Tensor], tuple[Any]]:
        (x,) = features
        reg = apply_tower(self.bbox_subnet, x)
        scores = tf.cast(self.cls_score(apply_tower(self.cls_subnet, x)), tf.float32)
        objectness = tf.repeat(tf.cast(self.object_pred(reg), tf.float32), self.num_classes, -1)
        # the logit of the product of both probabilities
        both = 1.0 + tf.minimum(tf.exp(scores), 1e8) + tf.minimum(tf.exp(objectness), 1e8)
        return (scores + objectness - tf.math.log(both),), (self.bbox_pred(reg),)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox"}``; every match of an object counts for its box."""
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.priors(shapes), 0)  # [P, 4]
        decoded = self.coder.decode(anchors, flatten_levels(outputs[1], 4))
        assignment, rows, counted = self.assigner.match(
            anchors, targets, self.usable(anchors, shapes, info), tf.stop_gradient(decoded)
        )
        normalizer = tf.maximum(replica_mean(assignment.count_positive()), 1.0)
        labels = assignment.labels(targets, background=self.num_classes)
        matched = tf.gather(decoded, rows, batch_dims=1)  # [B, K, G, 4]
        wanted = tf.broadcast_to(targets["boxes"][:, None], tf.shape(matched))
        scores = flatten_levels(outputs[0], self.num_classes)
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, normalizer),
            "loss_bbox": self.loss_bbox(matched, wanted, tf.cast(counted, tf.float32), normalizer),
        }
