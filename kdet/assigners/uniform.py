"""Uniform matching (YOLOF, Chen et al., 2021): the same number of positives for every object."""

from typing import NamedTuple

import tensorflow as tf

from kdet import geometry
from kdet.assigners.assignment import Assignment
from kdet.registry import Component, register


class Matches(NamedTuple):
    """Pairs of a prior and an object; a prior may be in several.

    Attributes:
        rows: int32 ``[B,M]``, the prior.
        objects: int32 ``[B,M]``, row of the targets.
        weight: float32 ``[B,M]``, 0 for pairs that do not count.
    """

    rows: tf.Tensor
    objects: tf.Tensor
    weight: tf.Tensor


@register
class UniformAssigner(Component):
    """Every object takes the nearest predictions and the nearest anchors, by the L1 distance of boxes.

    Args:
        pos_ignore_iou: pairs whose anchor overlaps the object by less take no part.
        neg_ignore_iou: background whose prediction overlaps an object by more takes no part.
        per_object: predictions and anchors, each, that an object takes.
    """

    def __init__(self, pos_ignore_iou=0.15, neg_ignore_iou=0.7, per_object=4):
        self.pos_ignore_iou, self.neg_ignore_iou = pos_ignore_iou, neg_ignore_iou
        self.per_object = per_object

    def __call__(self, priors, targets, valid=None, predictions=None):
        """Assigns anchors to objects.

        Args:
            priors: anchors ``[P,4]``.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, anchors that may be used.
            predictions: their decoded boxes ``[B,P,4]``.

        Returns:
            ``(Assignment [B,P], Matches)``.
        """
        boxes, real = targets["boxes"], targets["labels"] >= 0
        predictions, anchors = tf.stop_gradient(predictions), priors[None]
        nearest = [self._nearest(found, boxes, valid) for found in (predictions, anchors)]  # [B, k, G] each
        rows = tf.concat(nearest, 2)
        batch, per, twice = tf.unstack(tf.shape(rows))
        rows = tf.reshape(rows, [batch, -1])
        objects = tf.broadcast_to(tf.tile(tf.range(twice // 2), [2 * per])[None], tf.shape(rows))
        taken = tf.gather(real, objects, batch_dims=1)

        truth = tf.gather(boxes, objects, batch_dims=1)
        overlap = geometry.aligned_iou(tf.gather(priors, rows), truth)
        counted = taken & (overlap >= self.pos_ignore_iou)
        # of several pairs of one anchor the last decides
        order = tf.where(taken, tf.range(tf.shape(rows)[1]) + 1, 0)
        pictures = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(rows))
        empty = tf.zeros([batch, tf.shape(priors)[0]], tf.int32)
        last = tf.tensor_scatter_nd_max(empty, tf.stack([pictures, rows], -1), order)  # [B, P]
        matched, pair = last > 0, tf.maximum(last - 1, 0)
        positive = matched & tf.gather(counted, pair, batch_dims=1)

        covered = tf.where(real[:, None], geometry.pairwise_iou(predictions, boxes), 0.0)
        negative = ~matched & (tf.reduce_max(covered, 2) <= self.neg_ignore_iou)
        index = tf.where(positive, tf.gather(objects, pair, batch_dims=1), -1)
        assignment = Assignment(index, tf.cast((positive | negative) & valid, tf.float32))
        return assignment, Matches(rows, objects, tf.cast(counted, tf.float32))

    def _nearest(self, found, boxes, valid):
        """Rows ``[B,k,G]`` of the ``k`` boxes of ``found [B|1,P,4]`` that are nearest to each object."""

        def parts(x):
            return tf.concat([geometry.centers(x), x[..., 2:] - x[..., :2]], -1)

        away = tf.abs(parts(boxes)[:, :, None] - parts(found)[:, None])  # [B, G, P, 4]
        cost = tf.where(valid[:, None], tf.reduce_sum(away, -1), float("inf"))
        return tf.transpose(tf.math.top_k(-cost, self.per_object).indices, [0, 2, 1])
