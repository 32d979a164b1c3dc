"""Uniform matching (YOLOF, Chen et al., 2021): every object gets the same number of anchors."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.assigners.blocks import over_objects
from kdet.contract import Assignment, Targets
from kdet.ops.ranking import smallest_in_passing
from kdet.registry import register
from kdet.typing import Tensor


@register
class UniformAssigner(Assigner):
    """The nearest predicted boxes and the nearest anchors of every object are its own.

    Args:
        match_times: how many of each.
        pos_ignore_iou: matches whose anchor overlaps the object by less take no part.
        neg_ignore_iou: background whose predicted box overlaps an object by more takes no part.
    """

    # Distances on a square grid tie all the time: a step to the left costs what a step up costs. The
    # reference matches on CPU, where torch.topk chooses among equal values so.
    select_smallest = staticmethod(smallest_in_passing)

    def __init__(
        self, match_times: int = 4, pos_ignore_iou: float = 0.15, neg_ignore_iou: float = 0.7
    ) -> None:
        self.match_times = match_times
        self.pos_ignore_iou, self.neg_ignore_iou = pos_ignore_iou, neg_ignore_iou

    def __call__(
        self, priors: Tensor, targets: Targets, valid: Tensor | None = None, predictions: Tensor | None = None
    ) -> Assignment:
        """``Assignment`` of anchors ``[P,4]`` with their predicted boxes ``predictions [B,P,4]``."""
        return self.match(priors, targets, valid, predictions)[0]

    def match(
        self, priors: Tensor, targets: Targets, valid: Tensor, predictions: Tensor
    ) -> tuple[Assignment, Tensor, Tensor]:
        """The ``Assignment`` and all matches.

        Returns:
            ``(Assignment, rows [B,K,G] int32, counted [B,K,G] bool)``: the K anchors of each object, some
            perhaps twice or also another's, and which of these matches take part.
        """
        boxes, real = objects_of(targets)  # [B, G, 4], [B, G]
        priors, usable = usable_priors(priors, valid, boxes)
        predictions, finite = geometry.finite_rows(predictions)
        objects = tf.shape(boxes)[1]
        batch, anchors = tf.shape(predictions)[0], tf.shape(priors)[0]
        # in the order in which later matches override earlier ones
        rows = [
            self._nearest(predictions, boxes, usable & finite),
            self._nearest(priors[None], boxes, usable),
        ]
        rows = tf.stack(rows, 2)
        rows = tf.transpose(rows, [0, 3, 2, 1])  # [B, k, 2, G]
        rows = tf.reshape(rows, [batch, 2 * self.match_times, objects])
        chosen = geometry.aligned_iou(boxes[:, None], tf.gather(priors, rows))  # [B, K, G]
        counted = (chosen >= self.pos_ignore_iou) & real[:, None, :]
        counted &= tf.gather(usable & finite, rows, batch_dims=1)

        place = tf.range(2 * self.match_times * objects)
        place = tf.where(real[:, None, :], tf.reshape(place, [1, -1, objects]), -1)
        cell = rows + anchors * tf.range(batch)[:, None, None]
        last = tf.math.unsorted_segment_max(tf.reshape(place, [-1]), tf.reshape(cell, [-1]), batch * anchors)
        last = tf.reshape(tf.maximum(last, -1), [batch, anchors])
        matched = last >= 0
        winner = tf.reshape(counted, [batch, 2 * self.match_times * objects])
        winner = tf.pad(winner, [[0, 0], [0, 1]])  # a place also where there is no object
        winner = tf.gather(winner, tf.maximum(last, 0), batch_dims=1)

        def look(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            overlaps = geometry.pairwise_iou(some[0], predictions)  # [B, g, P]
            return [tf.maximum(found[0], tf.reduce_max(tf.where(some[1][..., None], overlaps, 0.0), 1))]

        start = tf.zeros([batch, anchors])
        close = over_objects(look, [boxes], real, [start])[0] > self.neg_ignore_iou
        weight = tf.where(matched, winner, ~close) & usable
        index = tf.where(matched & winner, last % tf.maximum(objects, 1), -1)
        return Assignment(index, tf.cast(weight, tf.float32)), rows, counted

    def _nearest(self, candidates: Tensor, boxes: Tensor, usable: Tensor) -> Tensor:
        """Rows of the nearest ``candidates [B|1,P,4]`` of each object, ``[B,G,k]``."""
        a, b = geometry.to_center_size(candidates)[:, None], geometry.to_center_size(boxes)[:, :, None]
        # a number at a time, without a table of all four; added up in MMDetection's order, so that sums that
        # tie there tie here
        x, y, w, h = (tf.abs(a[..., i] - b[..., i]) for i in range(4))
        distance = x + y + w + h  # [B, G, P]
        return self.select_smallest(tf.where(usable[:, None, :], distance, float("inf")), self.match_times)
