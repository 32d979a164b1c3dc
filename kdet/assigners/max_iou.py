"""Assignment by the largest IoU (Ren et al., 2015)."""

from collections.abc import Sequence

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.assigners.blocks import over_objects
from kdet.contract import Assignment, Targets
from kdet.geometry import is_real_box
from kdet.registry import register
from kdet.typing import Tensor


@register
class MaxIoUAssigner(Assigner):
    """A prior is positive for its best object above a threshold, negative below another.

    Args:
        pos_iou: at least this IoU makes a positive.
        neg_iou: below this IoU a prior is background; a pair (low, high) leaves those under ``low`` out.
        min_pos_iou: with ``match_low_quality`` the best prior of an object becomes positive from here on.
        match_low_quality: give every object its best priors, whatever ``pos_iou`` says.
        gt_max_assign_all: all priors that tie for an object's best, not only the first.
        ignore_iof: priors covered by an ignore region for more than this share take no part;
            None to disregard ignore regions.
        ignore_wrt_priors: the share is of the prior's area (else of the region's).
    """

    def __init__(
        self,
        pos_iou: float,
        neg_iou: float | Sequence[float],
        min_pos_iou: float = 0.0,
        match_low_quality: bool = True,
        gt_max_assign_all: bool = True,
        ignore_iof: float | None = None,
        ignore_wrt_priors: bool = True,
    ) -> None:
        self.pos_iou, self.min_pos_iou = pos_iou, min_pos_iou
        self.neg_iou = tuple(neg_iou) if isinstance(neg_iou, (tuple, list)) else (0.0, neg_iou)
        self.match_low_quality, self.gt_max_assign_all = match_low_quality, gt_max_assign_all
        self.ignore_iof, self.ignore_wrt_priors = ignore_iof, ignore_wrt_priors

    def __call__(
        self,
        priors: tf.Tensor,
        targets: Targets,
        valid: tf.Tensor | None = None,
        predictions: tf.Tensor | None = None,
        threshold: tf.Tensor | None = None,
    ) -> Assignment:
        """Assigns priors to objects.

        Args:
            priors: ``[P,4]`` or ``[B,P,4]``.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, priors that may be used; None for all.
            predictions: not looked at.
            threshold: scalar that takes the place of ``pos_iou``, ``neg_iou`` and ``min_pos_iou``, where it
                follows the training (Dynamic R-CNN).

        Returns:
            ``Assignment`` with the IoU of every prior with its best object.
        """
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        if self.ignore_iof is not None and "ignore_boxes" in targets:
            usable = tf.logical_and(usable, ~self._ignored(priors, targets["ignore_boxes"]))
        least = self.min_pos_iou if threshold is None else threshold
        best, index, rescuer = self._matches(boxes, real, priors, usable, least)
        # without objects everything is background
        best = tf.where(tf.reduce_any(real, 1, keepdims=True), best, 0.0)
        positive = best >= (self.pos_iou if threshold is None else threshold)
        low, high = self.neg_iou if threshold is None else (0.0, threshold)
        negative = tf.logical_and(best >= low, best < high)
        if self.match_low_quality:
            index = tf.where(rescuer >= 0, rescuer, index)
            positive = tf.logical_or(positive, rescuer >= 0)
        counted = tf.logical_and(tf.logical_or(positive, negative), usable)
        return Assignment(tf.where(positive, index, -1), tf.cast(counted, tf.float32), best)

    def overlaps(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """IoU of objects ``[B,G,4]`` with priors: ``[B,G,P]``."""
        return geometry.pairwise_iou(boxes, priors)

    def _matches(
        self, boxes: Tensor, real: Tensor, priors: Tensor, usable: Tensor, least: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best object of every prior.

        Returns:
            ``[B,P]`` each: the IoU with the best object, -1 where there is none; its number; the number of
            the object that claims the prior though it is of low quality, -1 for none.
        """
        none = tf.zeros_like(usable, tf.int32)

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> tuple[Tensor, ...]:
            (boxes, real), (best, index, rescuer) = some, found
            overlaps = self.overlaps(boxes, priors)  # [B, g, P]
            overlaps = tf.where(real[..., None] & usable[:, None, :], overlaps, -1.0)
            highest = tf.reduce_max(overlaps, 1)  # [B, P]
            index = tf.where(highest > best, tf.argmax(overlaps, 1, tf.int32) + first, index)
            if self.match_low_quality:
                top = tf.reduce_max(overlaps, 2, keepdims=True)  # [B, g, 1]
                good = tf.logical_and(top >= least, top >= 0.0)
                claimed, claimant = best_priors(overlaps, good, self.gt_max_assign_all)
                rescuer = tf.where(claimed, claimant + first, rescuer)  # of several the last
            return tf.maximum(best, highest), index, rescuer

        start = tf.cast(none, tf.float32) - 1.0, none, none - 1
        best, index, rescuer = over_objects(add, [boxes], real, start)
        return best, index, rescuer

    def _ignored(self, priors: Tensor, regions: Tensor) -> Tensor:
        if self.ignore_wrt_priors:
            priors = tf.broadcast_to(priors, tf.concat([tf.shape(regions)[:1], tf.shape(priors)[-2:]], 0))
            share = geometry.pairwise_iou(priors, regions, "iof")  # [B, P, I]
            share = tf.where(is_real_box(regions)[:, None, :], share, 0.0)
            return tf.reduce_max(share, 2) > self.ignore_iof
        share = geometry.pairwise_iou(regions, priors, "iof")  # [B, I, P]
        share = tf.where(is_real_box(regions)[..., None], share, 0.0)
        return tf.reduce_max(share, 1) > self.ignore_iof


def best_priors(overlaps: Tensor, good: Tensor, ties: bool = True) -> tuple[Tensor, Tensor]:
    """The best priors of every object.

    Args:
        overlaps: ``[B,G,P]``.
        good: bool ``[B,G,1]``, objects that may claim priors.
        ties: an object gets all priors that tie for its best, not only the first.

    Returns:
        ``(claimed [B,P] bool, object [B,P] int32)``; of several objects that claim one prior the last in
        the list gets it.
    """
    if ties:
        wins = overlaps == tf.reduce_max(overlaps, 2, keepdims=True)
    else:
        wins = tf.one_hot(tf.argmax(overlaps, 2), tf.shape(overlaps)[2], True, False)
    rank = tf.range(1, tf.shape(overlaps)[1] + 1)[None, :, None]
    winner = tf.reduce_max(tf.where(tf.logical_and(wins, good), rank, 0), 1)  # [B, P]
    return winner > 0, winner - 1
