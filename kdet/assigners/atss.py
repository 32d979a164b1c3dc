"""Adaptive training sample selection (Zhang et al., 2020)."""

from collections.abc import Sequence

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
from kdet.assigners.blocks import first_best, over_objects
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class ATSSAssigner(Assigner):
    """The nearest priors of every level compete; the IoU that wins is mean plus deviation of theirs.

    Args:
        topk: candidates per object and level.
        alpha: None for the IoU of priors and objects; else predictions compete in its place, by
            ``score ** (1 - alpha) * IoU ** alpha`` (DDOD, Chen et al., 2021).
    """

    needs_levels = True

    def __init__(self, topk: int = 9, alpha: float | None = None) -> None:
        self.topk, self.alpha = topk, alpha

    def __call__(
        self,
        priors: Tensor,
        targets: Targets,
        valid: Tensor | None = None,
        predictions: Tensor | None = None,
        *,
        level_sizes: Sequence[int],
        scores: Tensor | None = None,
    ) -> Assignment:
        """Assigns priors to objects.

        Args:
            priors: boxes ``[P,4]``.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, priors that may be used; None for all.
            predictions, scores: with ``alpha``, boxes ``[B,P,4]`` and probabilities ``[B,P,C]``.
            level_sizes: number of priors of every level.

        Returns:
            ``Assignment`` with the IoU of the positives with their object (with ``alpha``, what competes).
        """
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        if self.alpha is not None and predictions is not None and scores is not None:
            predictions, scores, usable = finite_predictions(predictions, scores, usable)
        points = geometry.centers(priors)
        by_class = None if scores is None else tf.transpose(scores, [0, 2, 1])  # [B, C, P]
        none = tf.zeros_like(usable, tf.int32)

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            boxes, labels, real = some
            overlaps = self.qualities(priors, boxes, labels, predictions, by_class)  # [B, g, P]
            rows = self._candidates(points, boxes, usable, level_sizes)  # [B, g, K]
            counted = tf.gather(tf.broadcast_to(usable[:, None], tf.shape(overlaps)), rows, batch_dims=2)
            chosen = tf.gather(overlaps, rows, batch_dims=2)
            threshold = mean_plus_deviation(chosen, tf.cast(counted, tf.float32))
            chosen_points = tf.gather(points, rows)  # [B, g, K, 2]
            inside = tf.minimum(chosen_points - boxes[:, :, None, :2], boxes[:, :, None, 2:] - chosen_points)
            positive = (chosen >= threshold) & (tf.reduce_min(inside, -1) > 0.01) & counted & real[..., None]
            positive = scatter_rows(positive, rows, tf.shape(overlaps)[2])
            return first_best(found[0], found[1], tf.where(positive, overlaps, -1.0), first)

        start = tf.cast(none, tf.float32) - 1.0, none - 1
        best, index = over_objects(add, [boxes, targets["labels"]], real, start)
        return Assignment(index, tf.cast(usable, tf.float32), tf.maximum(best, 0.0))

    def qualities(
        self,
        priors: Tensor,
        boxes: Tensor,
        labels: Tensor,
        predictions: Tensor | None,
        by_class: Tensor | None,
    ) -> Tensor:
        """What priors compete for objects by, ``[B,G,P]``, not negative; ``by_class`` is ``[B,C,P]``."""
        if self.alpha is None:
            return geometry.pairwise_iou(boxes, priors)
        if predictions is None or by_class is None:
            raise ValueError("ATSSAssigner with alpha compares predictions: give it boxes and scores.")
        own = tf.gather(by_class, tf.maximum(labels, 0), batch_dims=1)  # [B, G, P]
        overlaps = geometry.pairwise_iou(boxes, predictions)
        return tf.pow(own, 1.0 - self.alpha) * tf.pow(overlaps, self.alpha)

    def _candidates(
        self, points: Tensor, boxes: Tensor, usable: Tensor, level_sizes: Sequence[int]
    ) -> Tensor:
        """Rows of the ``topk`` nearest usable priors of each level, ``[B,G,K]``."""
        apart = geometry.centers(boxes)[:, :, None, :] - points  # [B, G, P, 2]
        distance = tf.sqrt(tf.reduce_sum(tf.square(apart), -1))
        distance = tf.where(usable[:, None, :], distance, float("inf"))
        found, start = [], 0
        for size in level_sizes:
            level = distance[:, :, start : start + size]
            found.append(tf.math.top_k(-level, tf.minimum(self.topk, size)).indices + start)
            start += size
        return tf.concat(found, -1)


def mean_plus_deviation(values: Tensor, weight: Tensor) -> Tensor:
    """Mean plus unbiased standard deviation over the last axis of the values of weight 1: ``[..., 1]``."""
    count = tf.reduce_sum(weight, -1, keepdims=True)
    mean = tf.reduce_sum(values * weight, -1, keepdims=True) / tf.maximum(count, 1.0)
    squares = tf.reduce_sum(tf.math.squared_difference(values, mean) * weight, -1, keepdims=True)
    return mean + tf.sqrt(squares / tf.maximum(count - 1.0, 1.0))


def scatter_rows(flags: Tensor, rows: Tensor, size: Tensor) -> Tensor:
    """bool ``[B,G,size]``, True at ``rows [B,G,K]`` where ``flags [B,G,K]``."""
    batch, objects, candidates = tf.unstack(tf.shape(rows))
    owner = tf.repeat(tf.range(batch * objects), candidates)
    index = tf.stack([owner, tf.reshape(rows, [-1])], -1)
    counts = tf.scatter_nd(index, tf.cast(tf.reshape(flags, [-1]), tf.int32), [batch * objects, size])
    return tf.reshape(counts > 0, [batch, objects, size])
