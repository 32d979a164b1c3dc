"""Simplified optimal transport assignment (SimOTA) of YOLOX (Ge et al., 2021, arXiv:2107.08430)."""

from typing import TypeAlias

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
from kdet.assigners.blocks import over_objects
from kdet.assigners.dynamic_matches import dynamic_matches
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor

# added to the cost of pairs of which the point is not both inside of the box and near its center
OUTSIDE = 1e5
# as in PyTorch, no logarithm of a probability is below this
LEAST_LOG = -100.0


@register
class SimOTAAssigner(Assigner):
    """Every object takes the few points that detect it at the least cost; how few, the overlaps say.

    Args:
        center_radius: a point within so many strides of an object's center is near it.
        candidates: an object takes as many points as the IoUs of its best ``candidates`` ones add up to.
        iou_weight, class_weight: factors of the two costs.
    """

    def __init__(
        self,
        center_radius: float = 2.5,
        candidates: int = 10,
        iou_weight: float = 3.0,
        class_weight: float = 1.0,
    ) -> None:
        self.center_radius, self.candidates = center_radius, candidates
        self.iou_weight, self.class_weight = iou_weight, class_weight

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
            priors: ``[P,3]`` (x, y, stride), the middles of the cells.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, points that may be used; None for all.
            predictions: boxes ``[B,P,4]``.
            scores: probabilities ``[B,P,C]`` of class and object together.

        Returns:
            ``Assignment`` with the IoU of the positives with their object.
        """
        boxes, real = objects_of(targets)
        priors, there = usable_priors(priors, valid, boxes)
        predictions, scores, there = finite_predictions(predictions, scores, there)
        terms = class_terms(scores)

        def any_place(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            inside, near = self.places(priors, some[0])  # [B, g, P]
            return [found[0] | tf.reduce_any((inside | near) & some[1][..., None], 1)]

        (possible,) = over_objects(any_place, [boxes], real, [tf.zeros_like(there)])
        usable = (possible & there)[:, None]  # [B, 1, P]

        def prices(boxes: Tensor, labels: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
            inside, near = self.places(priors, boxes)
            overlaps = tf.where(usable, geometry.pairwise_iou(boxes, predictions), 0.0)  # [B, g, P]
            cost = self.class_weight * class_cost(terms, labels)
            cost += self.iou_weight * -tf.math.log(overlaps + 1e-7)
            cost += tf.where(inside & near, 0.0, OUTSIDE)
            return tf.where(usable & real[..., None], cost, float("inf")), overlaps

        return dynamic_matches(prices, [boxes, targets["labels"]], real, there, self.candidates)

    def places(self, priors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Whether points lie inside of boxes, and near their centers: bool ``[B,G,P]`` each."""
        center, reach = geometry.centers(boxes)[..., None, :], self.center_radius * priors[:, 2]
        inside = near = tf.constant(True)
        for i in (0, 1):  # a side at a time: pairs of numbers would need twice the memory
            place, middle = priors[:, i], center[..., i]
            inside &= (place - boxes[..., None, i] > 0.0) & (boxes[..., None, i + 2] - place > 0.0)
            near &= (place - (middle - reach) > 0.0) & ((middle + reach) - place > 0.0)
        return inside, near


# of every class, what it costs more to be the object's (negated), and what it costs to be none of them
ClassTerms: TypeAlias = tuple[Tensor, Tensor]


def class_terms(scores: Tensor) -> ClassTerms:
    """What :func:`class_cost` needs of ``scores [B,P,C]``: ``[B,C,P]`` and ``[B,1,P]``."""
    root = tf.sqrt(scores)
    wrong = tf.maximum(tf.math.log1p(-root), LEAST_LOG)  # [B, P, C]
    right = tf.maximum(tf.math.log(root), LEAST_LOG)
    return tf.transpose(right - wrong, [0, 2, 1]), -tf.reduce_sum(wrong, -1)[:, None]


def class_cost(terms: ClassTerms, labels: Tensor) -> Tensor:
    """Binary cross entropy of the roots of scores with each object's class: ``[B,G,P]``.

    Args:
        terms: :func:`class_terms` of the scores.
        labels: int32 ``[B,G]``.
    """
    own = tf.gather(terms[0], tf.maximum(labels, 0), batch_dims=1)  # [B, G, P]
    return terms[1] - own
