"""Task-aligned assignment of TOOD (Feng et al., 2021, arXiv:2108.07755)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.atss import scatter_rows
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
from kdet.assigners.blocks import first_best, over_objects
from kdet.contract import Assignment, Targets
from kdet.registry import register
from kdet.typing import Tensor


@register
class TaskAlignedAssigner(Assigner):
    """An object takes the priors at which class and box are predicted best together.

    The alignment of a prior with an object is ``score ** alpha * IoU ** beta``.

    Args:
        topk: priors of an object.
        alpha, beta: powers of the score and of the IoU.
    """

    def __init__(self, topk: int = 13, alpha: float = 1.0, beta: float = 6.0) -> None:
        self.topk, self.alpha, self.beta = topk, alpha, beta

    def __call__(
        self,
        priors: Tensor,
        targets: Targets,
        valid: Tensor | None = None,
        predictions: Tensor | None = None,
        *,
        scores: Tensor,
    ) -> Assignment:
        """Assigns priors to objects.

        Args:
            priors: boxes ``[P,4]``; those of an object have their center inside of it.
            targets: the data contract's dict.
            valid: bool ``[B,P]``, priors that may be used; None for all.
            predictions: boxes ``[B,P,4]``.
            scores: probabilities ``[B,P,C]``.

        Returns:
            ``Assignment``; its ``overlaps`` are the alignment of the positives, scaled so that the best of
            every object is its largest IoU.
        """
        labels = targets["labels"]
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        predictions, scores, usable = finite_predictions(predictions, scores, usable)
        by_class = tf.transpose(scores, [0, 2, 1])  # [B, C, P]
        centers, count = geometry.centers(priors), tf.shape(usable)[1]
        none = tf.zeros_like(usable, tf.int32)
        zero = tf.cast(none, tf.float32)

        def add(first: Tensor | int, some: list[Tensor], found: list[Tensor]) -> list[Tensor]:
            (boxes, labels, real), (iou, index, own) = some, found
            overlaps = geometry.pairwise_iou(boxes, predictions)  # [B, g, P]
            likely = tf.gather(by_class, tf.maximum(labels, 0), batch_dims=1)  # [B, g, P]
            alignment = tf.pow(likely, self.alpha) * tf.pow(overlaps, self.beta)
            alignment = tf.where(usable[:, None] & real[..., None], alignment, -1.0)
            best = tf.math.top_k(alignment, tf.minimum(self.topk, count))
            chosen = tf.gather(centers, best.indices)  # [B, g, K, 2]
            inside = tf.minimum(chosen - boxes[:, :, None, :2], boxes[:, :, None, 2:] - chosen)
            taken = (best.values > 0.0) & (tf.reduce_min(inside, -1) > 0.01)
            # a prior of several objects goes to the one that it overlaps most
            rivals = tf.where(scatter_rows(taken, best.indices, count), overlaps, -1.0)
            return first_best(iou, index, rivals, first, (own, alignment))

        iou, index, alignment = over_objects(add, [boxes, labels], real, (zero - 1.0, none - 1, zero))
        iou, alignment = (tf.where(index >= 0, x, 0.0) for x in (iou, alignment))
        # the largest of both among the priors of an object, for each of these
        largest, highest = (_largest_of_owner(x, index, tf.shape(boxes)[1]) for x in (iou, alignment))
        scaled = alignment / (highest + 1e-7) * largest
        return Assignment(index, tf.cast(usable, tf.float32), scaled)


def _largest_of_owner(values: Tensor, owner: Tensor, objects: Tensor) -> Tensor:
    """The largest of ``values [B,P]`` among the priors of the same ``owner [B,P]``; 0 where there is none."""
    batch = tf.shape(values)[0]
    cell = owner + objects * tf.range(batch)[:, None]
    place = tf.where(owner >= 0, cell, objects * batch)  # behind all others: no object's
    most = tf.math.unsorted_segment_max(values, place, objects * batch + 1)
    return tf.where(owner >= 0, tf.gather(most, place), 0.0)
