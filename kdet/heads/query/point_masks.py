"""Losses of masks at points, of sets of queries that have boxes and classes too (RF-DETR)."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.assigners import MaskHungarianAssigner
from kdet.contract import Targets
from kdet.heads.base import Losses
from kdet.heads.query.mask_criterion import most_uncertain
from kdet.layers import sizes_of
from kdet.losses import Loss
from kdet.registry import Component, register
from kdet.typing import Pair, Tensor


def _times(share: float, count: int | Tensor) -> int | Tensor:
    """``int(share * count)``, of a number that is known or not."""
    if isinstance(count, int):
        return int(share * count)
    return tf.cast(share * tf.cast(count, tf.float32), tf.int32)


@register
class PointMaskLosses(Component):
    """Cross entropy and Dice loss of matched masks at random points, most of them where the mask is unsure.

    Objects count by the pixel that a point lies in, predictions are interpolated.

    Args:
        assigner: says what a mask costs in the matching, at points that all queries share.
        loss_mask, loss_dice: losses.
        ratio: a mask has a point for so many of its pixels, but not fewer than rows. In the matching there
            are four points for so many queries of the batch, as in Transformers.
        oversample: candidates per point, of which the most uncertain are taken.
        importance: share of the points chosen so; the rest are random.
    """

    def __init__(
        self,
        assigner: MaskHungarianAssigner,
        loss_mask: Loss,
        loss_dice: Loss,
        ratio: int = 16,
        oversample: float = 3.0,
        importance: float = 0.75,
    ) -> None:
        self.assigner, self.loss_mask, self.loss_dice = assigner, loss_mask, loss_dice
        self.ratio, self.oversample, self.importance = ratio, oversample, importance

    def random_points(self, seed: Tensor, draw: int, rows: Any, count: Any) -> Tensor:
        """Random points in 0..1: ``[*rows,count,2]``; ``draw`` tells the draws of a step apart."""
        return ops.uniform(tf.stack([*rows, count, 2]), ops.fold_in(seed, draw))

    def costs(
        self, index: int, features: Tensor, vectors: Tensor, bias: Tensor, targets: Targets, canvas: Pair,
        seed: Tensor,
    ) -> Tensor:  # fmt: skip
        """What it costs to match the masks of one set with the objects: ``[B,Q,G]``, without a gradient.

        Args:
            index: number of the set.
            features: float32 ``[B,h,w,C]``.
            vectors: float32 ``[B,Q,C]``; masks are their products with the features, plus ``bias [1]``.
            targets: with ``masks``.
            canvas: (H, W) of the targets' masks.
            seed: of the step.
        """
        features, vectors, bias = (tf.stop_gradient(x) for x in (features, vectors, bias))
        batch, queries, _ = sizes_of(vectors)
        points = self.random_points(seed, 3 * index, [1], batch * queries * 4 // self.ratio)
        points = tf.repeat(points, batch, 0)
        # interpolation is linear, so that the masks need not be made whole; next to the border less than all
        # of a pixel is there
        with_ones = tf.concat([features, tf.ones_like(features[..., :1])], -1)
        sampled = ops.point_sample(with_ones, points)  # [B, P, C + 1]
        masks = tf.matmul(sampled[..., :-1], vectors, transpose_b=True) + sampled[..., -1:] * bias
        objects = sizes_of(targets["labels"])
        rows = tf.repeat(tf.range(objects[1])[None], batch, 0)
        truth = self.truth_at(tf.repeat(points[:, None], objects[1], 1), rows, targets, canvas)
        return self.assigner.mask_costs(masks, truth)

    def truth_at(self, points: Tensor, objects: Tensor, targets: Targets, canvas: Pair) -> Tensor:
        """Objects ``[B,M]`` at points ``[B,M,P,2]`` in 0..1: ``[B,M,P]``."""
        size = tf.cast(tf.stack(list(canvas)[::-1]), tf.float32)
        return ops.packed_masks_at(targets["masks"], points * size, objects)

    def losses(
        self,
        index: int,
        masks: Tensor,
        objects: Tensor,
        real: Tensor,
        count: Tensor,
        targets: Targets,
        canvas: Pair,
        seed: Tensor,
    ) -> Losses:
        """``loss_mask_ce`` and ``loss_mask_dice`` of one set.

        Args:
            index: number of the set.
            masks: logits of the matched queries, float32 ``[B,M,h,w]``.
            objects: int32 ``[B,M]``, rows of the targets.
            real: bool ``[B,M]``; the other rows do not count.
            count: what the sums are divided by.
            targets, canvas, seed: as in ``costs``.
        """
        batch, rows, height, width = sizes_of(masks)
        few, many = height, height * width // self.ratio
        points = max(few, many) if isinstance(many, int) else tf.maximum(few, many)
        chosen, candidates = _times(self.importance, points), _times(self.oversample, points)
        flat = tf.reshape(masks, [batch * rows, height, width, 1])
        drawn = self.random_points(seed, 3 * index + 1, [batch, rows], candidates)
        places = most_uncertain(flat, tf.reshape(drawn, [batch * rows, candidates, 2]), chosen)
        others = self.random_points(seed, 3 * index + 2, [batch, rows], points - chosen)
        places = tf.concat([tf.reshape(places, [batch, rows, chosen, 2]), others], 2)
        found = ops.point_sample(flat, tf.reshape(places, [batch * rows, points, 2]))
        found = tf.reshape(found, [batch, rows, points])
        truth, weight = self.truth_at(places, objects, targets, canvas), tf.cast(real, tf.float32)
        pixels = count * tf.cast(points, tf.float32)
        return {
            "loss_mask_ce": self.loss_mask(found, truth, weight, pixels),
            "loss_mask_dice": self.loss_dice(tf.sigmoid(found), truth, weight, count),
        }
