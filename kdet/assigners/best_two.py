"""The two best objects of every prior (CrowdDet)."""

from typing import NamedTuple

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor

MATCHES = 2


class Matches(NamedTuple):
    """What every prior is trained to find, the better match first.

    Attributes:
        gt_index: int32 ``[B,P,2]``, row of the targets; of no meaning where ``positive`` is False.
        positive: bool ``[B,P,2]``, an object.
        ignored: bool ``[B,P,2]``, an ignore region.
    """

    gt_index: Tensor
    positive: Tensor
    ignored: Tensor


@register
class BestTwoAssigner(Assigner):
    """A prior answers for the two objects that it overlaps most (Chu et al., 2020, arXiv:2003.09163).

    Ignore regions compete with the objects by the share of the prior that they cover, where the prior
    overlaps no object enough. MMDetection calls it ``MultiInstanceAssigner``.

    Args:
        iou: from this overlap on a match counts; below it is background.

    Example:
        >>> assigner = BestTwoAssigner(iou=0.5)
        >>> assigner.matches(proposals, targets).positive  # [B, P, 2]
    """

    def __init__(self, iou: float = 0.5) -> None:
        self.iou = iou

    def __call__(
        self,
        priors: Tensor,
        targets: Targets,
        valid: Tensor | None = None,
        predictions: Tensor | None = None,
    ) -> Assignment:
        """The better match of every prior; those of an ignore region take no part.

        Args:
            priors: ``[P,4]`` or ``[B,P,4]``.
            targets: the objects.
            valid: bool ``[B,P]``, priors that may be used; None for all.
            predictions: not looked at.
        """
        found = self.matches(priors, targets)
        _, usable = usable_priors(priors, valid, targets["boxes"])
        positive, ignored = found.positive[..., 0], found.ignored[..., 0]
        counted = tf.cast(usable & ~ignored, tf.float32)
        return Assignment(tf.where(positive, found.gt_index[..., 0], -1), counted)

    def matches(self, priors: Tensor, targets: Targets) -> Matches:
        """Both matches of priors ``[P,4]`` or ``[B,P,4]``."""
        boxes, real = objects_of(targets)
        priors, _ = usable_priors(priors, None, boxes)
        batch, objects = tf.unstack(tf.shape(real))
        priors = tf.broadcast_to(priors, [batch, *tf.unstack(tf.shape(priors)[-2:])])
        overlaps = tf.where(real[:, None, :], geometry.pairwise_iou(priors, boxes), 0.0)  # [B, P, G]
        # at least two columns, for priors of which there are less than two objects
        overlap, index = tf.math.top_k(tf.pad(overlaps, [[0, 0], [0, 0], [0, MATCHES]]), MATCHES)
        covered = tf.zeros_like(overlap)
        if "ignore_boxes" in targets:
            regions, _ = geometry.finite_rows(targets["ignore_boxes"])
            share = geometry.pairwise_iou(priors, regions, "iof")
            share = tf.where(geometry.is_real_box(regions)[:, None, :], share, 0.0)
            covered = tf.math.top_k(tf.pad(share, [[0, 0], [0, 0], [0, MATCHES]]), MATCHES).values
        positive = overlap >= self.iou
        ignored = ~positive & (covered > overlap) & (covered >= self.iou)
        return Matches(tf.minimum(index, objects - 1), positive, ignored)
