"""FSAF (Zhu et al., 2019): every object trains the level on which its loss is least."""

from typing import Any

import tensorflow as tf

from kdet.assigners import CenterRegionAssigner
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.retina import RetinaHead
from kdet.layers import replica_mean
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class FSAFHead(RetinaHead):
    """RetinaNet with one box per cell, non-negative distances, and levels chosen by the loss.

    Args:
        assigner: ``CenterRegionAssigner``.
        loss_bbox: loss that takes boxes.
        other arguments: see ``RetinaHead``.
    """

    assigner: CenterRegionAssigner
    first_delta = 0.25  # the ReLU would hide a distance that starts below zero

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, tuple[Any, ...]]:
        scores, distances = super().call(features, info)
        return scores, tuple(tf.nn.relu(x) for x in distances)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox"}``."""
        shapes = level_shapes(outputs[0])
        levels = self.priors(shapes)
        anchors = tf.concat(levels, 0)  # [P, 4]
        level = tf.concat([tf.fill(tf.shape(x)[:1], i) for i, x in enumerate(levels)], 0)  # [P]
        assignment, shadow = self.assigner.assign_with_shadows(
            anchors, targets, self.usable(anchors, shapes, info)
        )
        kinds = tf.one_hot(targets["labels"], self.num_classes)  # [B, G, C]
        shadowed = tf.einsum("bgp,bgc->bpc", tf.cast(shadow, tf.float32), kinds) > 0
        labels = assignment.labels(targets, background=self.num_classes)
        scores = flatten_levels(outputs[0], self.num_classes)
        loss_cls = self.loss_cls.loss_weight * self.loss_cls.elementwise(scores, labels)  # [B, P, C]
        loss_cls = tf.where(shadowed, 0.0, loss_cls * assignment.weight[..., None])
        decoded = self.coder.decode(anchors, tf.maximum(flatten_levels(outputs[1], 4), 1e-4))
        loss_bbox = self.loss_bbox.loss_weight * self.loss_bbox.elementwise(
            decoded, assignment.gather(targets["boxes"])
        )
        loss_bbox = tf.where(assignment.positive, loss_bbox, 0.0)  # [B, P]

        total = tf.stop_gradient(tf.reduce_sum(loss_cls, -1) + loss_bbox)
        best = self.best_level(total, assignment, level, len(levels), tf.shape(targets["labels"])[1])
        kept = assignment.positive & (assignment.gather(best) == level)
        dropped = assignment.positive & ~kept
        own = tf.one_hot(labels, self.num_classes, True, False, dtype=tf.bool)
        loss_cls = tf.where(dropped[..., None] & own, 0.0, loss_cls)
        count = replica_mean(tf.reduce_sum(tf.cast(kept, tf.float32)))
        background = tf.reduce_sum(tf.cast(assignment.negative, tf.float32), 1)
        background = replica_mean(tf.reduce_sum(tf.maximum(background, 1.0)))
        normalizer = tf.where(count > 0, count, background)
        return {
            "loss_cls": tf.reduce_sum(loss_cls) / normalizer,
            "loss_bbox": tf.reduce_sum(tf.where(kept, loss_bbox, 0.0)) / normalizer,
        }

    @staticmethod
    def best_level(
        loss: Tensor, assignment: Assignment, level: Tensor, num_levels: int, num_objects: Tensor
    ) -> Tensor:
        """The level with the least mean ``loss [B,P]`` of each object's anchors: int32 ``[B,G]``."""
        batch = tf.shape(loss)[0]
        segment = tf.range(batch)[:, None] * num_objects + tf.maximum(assignment.gt_index, 0)
        segment = tf.reshape(segment * num_levels + level, [-1])
        positive = tf.cast(assignment.positive, tf.float32)
        number = batch * num_objects * num_levels
        total = tf.math.unsorted_segment_sum(tf.reshape(loss * positive, [-1]), segment, number)
        count = tf.math.unsorted_segment_sum(tf.reshape(positive, [-1]), segment, number)
        mean = tf.where(count > 0, total / tf.maximum(count, 1.0), 1e6)
        return tf.argmin(tf.reshape(mean, [batch, num_objects, num_levels]), -1, tf.int32)
