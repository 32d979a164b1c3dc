"""The head of YOLOF (Chen et al., 2021)."""

import tensorflow as tf

from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.towers import conv_tower, prior_bias, small_normal
from kdet.layers import Conv2D, replica_mean
from kdet.registry import register

_LIMIT = 1e8


@register
class YOLOFHead(AnchorHead):
    """One level; class scores are joined with an objectness that has no target of its own.

    Args:
        cls_convs, reg_convs: convolutions of the two towers.
        filters: their channels.
        other arguments: see ``AnchorHead``; the assigner is a ``UniformAssigner``.

    Call: ``([B,h,w,C],) -> (scores, deltas)``, tuples of one ``[B,h,w,A*classes]`` and one ``[B,h,w,A*4]``.
    """

    def __init__(
        self,
        num_classes,
        anchor_generator,
        coder,
        loss_cls,
        loss_bbox,
        assigner,
        cls_convs=2,
        reg_convs=4,
        filters=512,
        **kwargs,
    ):
        super().__init__(
            num_classes=num_classes,
            anchor_generator=anchor_generator,
            coder=coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            assigner=assigner,
            **kwargs,
        )
        self.cls_subnet = conv_tower(cls_convs, filters, norm="bn")
        self.bbox_subnet = conv_tower(reg_convs, filters, norm="bn")

        def predictor(channels, **kwargs):
            return Conv2D(
                self.num_anchors * channels, 3, padding=1, kernel_initializer=small_normal(), **kwargs
            )

        self.cls_score = predictor(num_classes, bias_initializer=prior_bias(0.01))
        self.bbox_pred, self.object_pred = predictor(4), predictor(1)

    def call(self, features, training=False):
        (cls,) = (reg,) = features
        for conv in self.cls_subnet:
            cls = conv(cls)
        for conv in self.bbox_subnet:
            reg = conv(reg)
        scores, objectness = self.cls_score(cls), self.object_pred(reg)
        objectness = tf.repeat(objectness, self.num_classes, -1)  # [B, h, w, A*classes]
        sums = 1.0 + tf.minimum(tf.exp(scores), _LIMIT) + tf.minimum(tf.exp(objectness), _LIMIT)
        return (scores + objectness - tf.math.log(sums),), (self.bbox_pred(reg),)

    def compute_losses(self, outputs, targets, info):
        shapes = level_shapes(outputs[0])
        anchors = self.priors(shapes)[0]  # [P, 4]
        boxes = self.coder.decode(anchors, flatten_levels(outputs[1], 4))  # [B, P, 4]
        assignment, pairs = self.assigner(anchors, targets, self.usable(anchors, shapes, info), boxes)
        count = tf.reduce_sum(tf.cast(assignment.positive, tf.float32), 1)
        normaliser = replica_mean(tf.reduce_sum(tf.maximum(count, 1.0)))
        labels = assignment.labels(targets, background=self.num_classes)
        scores = flatten_levels(outputs[0], self.num_classes)
        found = tf.gather(boxes, pairs.rows, batch_dims=1)
        truth = tf.gather(targets["boxes"], pairs.objects, batch_dims=1)
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, normaliser),
            "loss_bbox": self.loss_bbox(found, truth, pairs.weight, normaliser),
        }
