"""Simplified optimal transport assignment (SimOTA) of YOLOX (Ge et al., 2021, arXiv:2107.08430)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
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
        real = real[..., None]  # [B, G, 1]
        priors, there = usable_priors(priors, valid, boxes)
        predictions, scores, there = finite_predictions(predictions, scores, there)
        inside, near = self.places(priors, boxes)  # [B, G, P]
        usable = tf.reduce_any((inside | near) & real, 1, keepdims=True)  # [B, 1, P]
        usable &= there[:, None]
        overlaps = tf.where(usable, geometry.pairwise_iou(boxes, predictions), 0.0)  # [B, G, P]
        cost = self.class_weight * class_cost(scores, targets["labels"])
        cost += self.iou_weight * -tf.math.log(overlaps + 1e-7)
        cost += tf.where(inside & near, 0.0, OUTSIDE)
        cost = tf.where(usable & real, cost, float("inf"))

        return dynamic_matches(cost, overlaps, there, self.candidates)

    def places(self, priors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Whether points lie inside of boxes, and near their centers: bool ``[B,G,P]`` each."""
        points, reach = priors[:, :2], self.center_radius * priors[:, 2:]
        boxes = boxes[:, :, None]  # [B, G, 1, 4]
        inside = tf.minimum(points - boxes[..., :2], boxes[..., 2:] - points)
        center = geometry.centers(boxes)
        near = tf.minimum(points - (center - reach), (center + reach) - points)
        return tf.reduce_min(inside, -1) > 0.0, tf.reduce_min(near, -1) > 0.0


def class_cost(scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of the roots of ``scores [B,P,C]`` with each object's class: ``[B,G,P]``."""
    root = tf.sqrt(scores)
    wrong = tf.maximum(tf.math.log1p(-root), LEAST_LOG)  # [B, P, C]
    right = tf.maximum(tf.math.log(root), LEAST_LOG)
    labels = tf.maximum(labels, 0)
    own = tf.gather(tf.transpose(right - wrong, [0, 2, 1]), labels, batch_dims=1)  # [B, G, P]
    return -tf.reduce_sum(wrong, -1)[:, None] - own
