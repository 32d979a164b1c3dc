"""Dynamic soft label assignment of RTMDet (Lyu et al., 2022, arXiv:2212.07784)."""

from typing import TypeAlias

import tensorflow as tf

from kdet import geometry, ops
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
from kdet.assigners.blocks import over_objects
from kdet.assigners.center_region import within
from kdet.assigners.dynamic_matches import dynamic_matches
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class DynamicSoftLabelAssigner(Assigner):
    """Every object takes the few points that cost it least; the label that a class costs is its IoU.

    The cost of a point is the quality focal loss of its class scores against the IoU of its box, minus the
    logarithm of this IoU, and what rises tenfold with every stride of distance from the object's center (the
    center of mass of its mask where the targets have masks).

    Args:
        topk: an object takes as many points as the IoUs of its best ``topk`` ones add up to.
        center_radius: distance in strides at which the third cost is 1.
        iou_weight: factor of the second cost.
    """

    def __init__(self, topk: int = 13, center_radius: float = 3.0, iou_weight: float = 3.0) -> None:
        self.topk, self.center_radius, self.iou_weight = topk, center_radius, iou_weight

    def __call__(
        self,
        priors: Tensor,
        targets: Targets,
        valid: Tensor | None = None,
        predictions: Tensor | None = None,
        *,
        scores: Tensor,
    ) -> Assignment:
        """Assigns points to objects.

        Args:
            priors: ``[P,3]`` (x, y, stride).
            targets: the data contract's dict.
            valid: bool ``[B,P]``, points that may be used; None for all.
            predictions: boxes ``[B,P,4]``.
            scores: logits ``[B,P,C]``.

        Returns:
            ``Assignment`` with the IoU of the positives with their object.
        """
        boxes, real = objects_of(targets)
        priors, there = usable_priors(priors, valid, boxes)
        predictions, scores, there = finite_predictions(predictions, scores, there)
        terms = soft_label_terms(scores)
        centers = geometry.centers(boxes)
        if "masks" in targets:
            centers = ops.packed_mask_centers(targets["masks"])[..., ::-1]  # (y, x) -> (x, y)

        def any_inside(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            inside = within(priors[:, :2], some[0]) & some[1][..., None]  # [B, g, P]
            return [found[0] | tf.reduce_any(inside, 1)]

        (possible,) = over_objects(any_inside, [boxes], real, [tf.zeros_like(there)])
        usable = (possible & there)[:, None]  # [B, 1, P]

        def prices(boxes: Tensor, labels: Tensor, centers: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
            overlaps = tf.where(usable, geometry.pairwise_iou(boxes, predictions), 0.0)  # [B, g, P]
            distance = tf.norm(priors[:, :2] - centers[:, :, None], axis=-1) / priors[:, 2]
            cost = soft_label_cost(terms, labels, overlaps)
            cost += self.iou_weight * -tf.math.log(overlaps + 1e-7)
            cost += tf.pow(10.0, distance - self.center_radius)
            return tf.where(usable & real[..., None], cost, float("inf")), overlaps

        return dynamic_matches(prices, [boxes, targets["labels"], centers], real, there, self.topk)


# [B, C, P] logits and the losses where the label is 0, and their sum [B, 1, P]
SoftLabelTerms: TypeAlias = tuple[Tensor, Tensor, Tensor]


def soft_label_terms(scores: Tensor) -> SoftLabelTerms:
    """What :func:`soft_label_cost` needs of logits ``[B,P,C]``."""
    absent = tf.nn.softplus(scores) * tf.square(tf.sigmoid(scores))  # [B, P, C], where the label is 0
    by_class, absent_by_class = (tf.transpose(x, [0, 2, 1]) for x in (scores, absent))
    return by_class, absent_by_class, tf.reduce_sum(absent, -1)[:, None]


def soft_label_cost(terms: SoftLabelTerms, labels: Tensor, overlaps: Tensor) -> Tensor:
    """Quality focal losses of logits against each object's class at its IoU: ``[B,G,P]``.

    Args:
        terms: :func:`soft_label_terms` of the logits.
        labels: int32 ``[B,G]``.
        overlaps: IoUs ``[B,G,P]``.
    """
    own, own_absent = (tf.gather(x, tf.maximum(labels, 0), batch_dims=1) for x in terms[:2])  # [B, G, P]
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=overlaps, logits=own)
    present = entropy * tf.square(overlaps - tf.sigmoid(own))
    return terms[2] - own_absent + present
