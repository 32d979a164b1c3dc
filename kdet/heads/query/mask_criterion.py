"""Losses of sets of masks, matched one to one with the objects and regions of the image."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.assigners import MaskHungarianAssigner
from kdet.assigners.hungarian import cheapest
from kdet.contract import PADDING_LABEL, Assignment, Targets
from kdet.heads.base import Losses
from kdet.layers import replica_mean, resize_bilinear
from kdet.losses import Loss
from kdet.ops.crop_masks import unpack_bits
from kdet.registry import Component, register
from kdet.typing import Pair, Tensor


def with_stuff(targets: Targets, canvas: Pair, num_classes: int, num_stuff: int) -> Targets:
    """Labels and masks of the objects, and behind them those of the image's regions of stuff.

    Args:
        targets: with ``masks``; where there is stuff, ``semantic`` of any size, labels as of the model.
        canvas: (H, W) of the masks.
        num_classes, num_stuff: classes of things, and of stuff behind them.

    Raises:
        KeyError: a key is missing.
    """
    if "masks" not in targets:
        raise KeyError("This model learns masks: the data must have them (data.train.masks: true).")
    if not num_stuff:
        return targets
    if "semantic" not in targets:
        raise KeyError("This model learns stuff too: the targets need semantic [B,H,W] (255 = ignore).")
    semantic = targets["semantic"]
    for axis, side in enumerate(canvas, 1):
        cells = tf.shape(semantic)[axis]
        semantic = tf.gather(semantic, tf.range(side) * cells // side, axis=axis)
    masks, labels = [targets["masks"]], [targets["labels"]]
    for label in range(num_classes, num_classes + num_stuff):
        inside = semantic == label  # one class at a time: all of them would be 53 times the image
        masks.append(ops.pack_bits(inside)[:, None])
        there = tf.reduce_any(inside, [1, 2])
        labels.append(tf.where(there, label, PADDING_LABEL)[:, None])
    return {**targets, "masks": tf.concat(masks, 1), "labels": tf.concat(labels, 1)}


class MaskCriterion(Component):
    """Classification of all predictions; loss per pixel and Dice loss of the matched ones.

    A subclass says where masks are compared: ``for_costs``, ``for_losses`` and ``mask_loss``.

    Args:
        assigner: ``MaskHungarianAssigner``.
        loss_cls, loss_mask, loss_dice: losses.
        background_weight: weight of the unmatched in the classification.
    """

    def __init__(
        self,
        assigner: MaskHungarianAssigner,
        loss_cls: Loss,
        loss_mask: Loss,
        loss_dice: Loss,
        background_weight: float = 0.1,
    ) -> None:
        self.assigner, self.background_weight = assigner, background_weight
        self.loss_cls, self.loss_mask, self.loss_dice = loss_cls, loss_mask, loss_dice

    def __call__(
        self, logits: Sequence[Tensor], masks: Sequence[Tensor], targets: Targets, canvas: Pair, seed: Tensor
    ) -> list[Losses]:
        """Losses of several sets, those of all decoder layers.

        Args:
            logits: per set float32 ``[B,Q,C+1]``, the last for no object.
            masks: per set the masks' logits, float32 ``[B,h,w,Q]``.
            targets: the data contract's dict, see ``with_stuff``.
            canvas: (H, W) of the targets' masks.
            seed: of the step.

        Returns:
            Per set a dict with ``loss_cls``, ``loss_mask``, ``loss_dice``.
        """
        costs = []
        for index, (own_logits, own_masks) in enumerate(zip(logits, masks, strict=True)):
            found, truth = self.for_costs(index, own_masks, targets, canvas, seed)
            costs.append(self.assigner(own_logits, found, targets["labels"], truth))
        assignments = cheapest(tf.stack(costs), targets["labels"] >= 0)
        return [
            self.set_losses(index, *one, targets, canvas, seed)
            for index, one in enumerate(zip(logits, masks, assignments, strict=True))
        ]

    def set_losses(
        self,
        index: int,
        logits: Tensor,
        masks: Tensor,
        assignment: Assignment,
        targets: Targets,
        canvas: Pair,
        seed: Tensor,
    ) -> Losses:
        """Losses of one set; ``index`` is its number."""
        positive = assignment.positive
        labels = assignment.labels(targets, background=logits.shape[-1] - 1)
        weight = tf.where(positive, 1.0, self.background_weight)
        # no image has more matched predictions than objects
        limit = tf.minimum(tf.shape(targets["labels"])[1], tf.shape(positive)[1])
        real, rows = tf.math.top_k(tf.cast(positive, tf.int32), limit)
        objects = tf.gather(assignment.gt_index, rows, batch_dims=1)
        chosen = tf.gather(tf.transpose(masks, [0, 3, 1, 2]), rows, batch_dims=1)  # [B, M, h, w]
        found, truth = self.for_losses(index, chosen, objects, real > 0, targets, canvas, seed)
        real = tf.cast(real, tf.float32)
        count = tf.maximum(replica_mean(tf.reduce_sum(real)), 1.0)
        return {
            "loss_cls": self.loss_cls(logits, labels, weight, tf.reduce_sum(weight)),
            "loss_mask": self.mask_loss(found, truth, real, count),
            "loss_dice": self.loss_dice(tf.sigmoid(found), truth, real, count),
        }

    def for_costs(
        self, index: int, masks: Tensor, targets: Targets, canvas: Pair, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where the matching compares: predictions ``[B,P,Q]`` and objects ``[B,G,P]``."""
        raise NotImplementedError(f"{type(self).__name__} must define for_costs().")

    def for_losses(
        self,
        index: int,
        masks: Tensor,
        objects: Tensor,
        real: Tensor,
        targets: Targets,
        canvas: Pair,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Where the losses compare: predictions and their objects, ``[B,M,P]`` each.

        Args:
            index: number of the set.
            masks: ``[B,M,h,w]`` of the matched predictions.
            objects: int32 ``[B,M]``, rows of the targets.
            real: bool ``[B,M]``; the other rows do not count.
            targets, canvas, seed: as in a call.
        """
        raise NotImplementedError(f"{type(self).__name__} must define for_losses().")

    def mask_loss(self, found: Tensor, truth: Tensor, real: Tensor, count: Tensor) -> Tensor:
        """The loss per pixel of masks ``[B,M,P]``; those with ``real [B,M]`` count, ``count`` of them."""
        return self.loss_mask(found, truth, real, count * tf.cast(tf.shape(found)[2], tf.float32))


@register
class PointMaskCriterion(MaskCriterion):
    """Compares masks at random points, in the losses mostly where the prediction is unsure (Mask2Former).

    Args:
        num_points: points of a mask.
        oversample: candidates per point, of which the most uncertain are taken.
        importance: share of the points chosen so; the rest are random.
        other arguments: see ``MaskCriterion``.
    """

    def __init__(
        self,
        assigner: MaskHungarianAssigner,
        loss_cls: Loss,
        loss_mask: Loss,
        loss_dice: Loss,
        background_weight: float = 0.1,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance: float = 0.75,
    ) -> None:
        super().__init__(assigner, loss_cls, loss_mask, loss_dice, background_weight)
        self.num_points, self.oversample, self.importance = num_points, oversample, importance

    def random_points(self, seed: Tensor, draw: int, rows: Any, count: int) -> Tensor:
        """Random points in 0..1: ``[*rows, count, 2]``; ``draw`` tells the draws of a step apart."""
        seed = ops.fold_in(seed, draw)
        return ops.uniform(tf.concat([rows, [count, 2]], 0), seed)

    def for_costs(
        self, index: int, masks: Tensor, targets: Targets, canvas: Pair, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        points = self.random_points(seed, 4 * index, tf.shape(masks)[:1], self.num_points)
        objects = tf.shape(targets["labels"])
        rows = tf.broadcast_to(tf.range(objects[1]), objects)
        truth = self.truth_at(tf.repeat(points[:, None], objects[1], 1), rows, targets, canvas)
        return ops.point_sample(tf.stop_gradient(masks), points), truth

    def truth_at(self, points: Tensor, objects: Tensor, targets: Targets, canvas: Pair) -> Tensor:
        """Objects ``[B,M]`` at points ``[B,M,P,2]`` in 0..1: ``[B,M,P]``."""
        size = tf.cast(tf.stack(list(canvas)[::-1]), tf.float32)
        return ops.sample_packed_masks(targets["masks"], points * size, objects)

    def for_losses(
        self,
        index: int,
        masks: Tensor,
        objects: Tensor,
        real: Tensor,
        targets: Targets,
        canvas: Pair,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        shape = tf.shape(masks)
        flat = tf.reshape(masks, [shape[0] * shape[1], shape[2], shape[3], 1])
        points = self.uncertain_points(index, flat, shape[:2], seed)
        found = ops.point_sample(flat, tf.reshape(points, [-1, self.num_points, 2]))
        found = tf.reshape(found, [shape[0], shape[1], self.num_points])
        return found, self.truth_at(points, objects, targets, canvas)

    def uncertain_points(self, index: int, flat: Tensor, rows: Tensor, seed: Tensor) -> Tensor:
        """Points of every mask ``[*rows,num_points,2]``, from masks ``[B*M,h,w,1]``."""
        candidates = int(self.num_points * self.oversample)
        chosen = int(self.num_points * self.importance)
        points = self.random_points(seed, 4 * index + 2, rows, candidates)
        points = tf.reshape(points, [-1, candidates, 2])
        points = most_uncertain(flat, points, chosen)
        points = tf.reshape(points, tf.concat([rows, [chosen, 2]], 0))
        others = self.random_points(seed, 4 * index + 3, rows, self.num_points - chosen)
        return tf.concat([points, others], 2)


def most_uncertain(masks: Tensor, points: Tensor, count: Any) -> Tensor:
    """The points ``[N,count,2]`` of ``[N,P,2]`` (0..1) at which masks ``[N,h,w,1]`` are nearest to 0."""
    logits = ops.point_sample(tf.stop_gradient(masks), points)[..., 0]
    return tf.gather(points, tf.math.top_k(-tf.abs(logits), count).indices, batch_dims=1)


@register
class DenseMaskCriterion(MaskCriterion):
    """Compares masks at every pixel: the matching in the predictions' size, the losses in the image's.

    Args:
        loss_mask: focal loss.
        other arguments: see ``MaskCriterion``.
    """

    def for_costs(
        self, index: int, masks: Tensor, targets: Targets, canvas: Pair, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch, height, width, queries = tf.unstack(tf.shape(masks))
        truth = ops.nearest_masks(targets["masks"], canvas, tf.stack([height, width]))
        truth = tf.reshape(truth, [batch, -1, height * width])
        return tf.reshape(masks, [batch, height * width, queries]), truth

    def for_losses(
        self,
        index: int,
        masks: Tensor,
        objects: Tensor,
        real: Tensor,
        targets: Targets,
        canvas: Pair,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        batch, rows = tf.unstack(tf.shape(masks)[:2])
        height, width = canvas
        found = resize_bilinear(tf.transpose(masks, [0, 2, 3, 1]), tf.stack([height, width]))
        truth = tf.gather(targets["masks"], tf.maximum(objects, 0), batch_dims=1)
        truth = unpack_bits(truth)[..., :width]  # [B, M, H, W]
        found = tf.transpose(found, [0, 3, 1, 2])
        return tuple(tf.reshape(x, [batch, rows, height * width]) for x in (found, truth))

    def mask_loss(self, found: Tensor, truth: Tensor, real: Tensor, count: Tensor) -> Tensor:
        pixels = count * tf.cast(tf.shape(found)[2], tf.float32)
        # of the one class "object": 0 where it is, 1 (none) elsewhere
        return self.loss_mask(found[..., None], 1 - tf.cast(truth, tf.int32), real, pixels)
