"""Assignment by the largest IoU (Ren et al., 2015)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.assignment import Assignment
from kdet.registry import Component, register
from kdet.structures import is_real_box


@register
class MaxIoUAssigner(Component):
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
        pos_iou,
        neg_iou,
        min_pos_iou=0.0,
        match_low_quality=True,
        gt_max_assign_all=True,
        ignore_iof=None,
        ignore_wrt_priors=True,
    ):
        self.pos_iou, self.min_pos_iou = pos_iou, min_pos_iou
        self.neg_iou = tuple(neg_iou) if isinstance(neg_iou, (tuple, list)) else (0.0, neg_iou)
        self.match_low_quality, self.gt_max_assign_all = match_low_quality, gt_max_assign_all
        self.ignore_iof, self.ignore_wrt_priors = ignore_iof, ignore_wrt_priors

    def __call__(self, priors, targets, valid=None, predictions=None):
        """Assigns priors to objects.

        Args:
            priors: ``[P,4]`` or ``[B,P,4]``.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, priors that may be used; None for all.

        Returns:
            ``Assignment`` with the IoU of every prior with its best object.
        """
        real = targets["labels"] >= 0  # [B, G]
        overlaps = self.overlaps(targets["boxes"], priors)  # [B, G, P]
        overlaps = tf.where(real[..., None], overlaps, -1.0)
        usable = tf.ones(tf.shape(overlaps)[::2], bool) if valid is None else valid
        if self.ignore_iof is not None and "ignore_boxes" in targets:
            usable = tf.logical_and(usable, ~self._ignored(priors, targets["ignore_boxes"]))
        overlaps = tf.where(usable[:, None, :], overlaps, -1.0)

        best = tf.reduce_max(overlaps, 1)  # [B, P]
        # without objects everything is background
        best = tf.where(tf.reduce_any(real, 1, keepdims=True), best, 0.0)
        index = tf.argmax(overlaps, 1, tf.int32)
        positive = best >= self.pos_iou
        low, high = self.neg_iou
        negative = tf.logical_and(best >= low, best < high)
        if self.match_low_quality:
            rescued, rescuer = self._low_quality(overlaps)
            index = tf.where(rescued, rescuer, index)
            positive = tf.logical_or(positive, rescued)
        counted = tf.logical_and(tf.logical_or(positive, negative), usable)
        return Assignment(tf.where(positive, index, -1), tf.cast(counted, tf.float32), best)

    def overlaps(self, boxes, priors):
        """IoU of objects ``[B,G,4]`` with priors: ``[B,G,P]``."""
        return geometry.pairwise_iou(boxes, priors)

    def _low_quality(self, overlaps):
        best = tf.reduce_max(overlaps, 2, keepdims=True)  # [B, G, 1]
        good = tf.logical_and(best >= self.min_pos_iou, best >= 0.0)
        if self.gt_max_assign_all:
            wins = tf.logical_and(overlaps == best, good)
        else:
            first = tf.one_hot(tf.argmax(overlaps, 2), tf.shape(overlaps)[2], True, False)
            wins = tf.logical_and(first, good)
        # of several objects that claim one prior, the last in the list gets it
        rank = tf.range(1, tf.shape(overlaps)[1] + 1)[None, :, None]
        winner = tf.reduce_max(tf.where(wins, rank, 0), 1)  # [B, P]
        return winner > 0, winner - 1

    def _ignored(self, priors, regions):
        if self.ignore_wrt_priors:
            priors = tf.broadcast_to(priors, tf.concat([tf.shape(regions)[:1], tf.shape(priors)[-2:]], 0))
            share = geometry.pairwise_iou(priors, regions, "iof")  # [B, P, I]
            share = tf.where(is_real_box(regions)[:, None, :], share, 0.0)
            return tf.reduce_max(share, 2) > self.ignore_iof
        share = geometry.pairwise_iou(regions, priors, "iof")  # [B, I, P]
        share = tf.where(is_real_box(regions)[..., None], share, 0.0)
        return tf.reduce_max(share, 1) > self.ignore_iof
