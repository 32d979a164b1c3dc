"""Task-aligned assignment of TOOD (Feng et al., 2021, arXiv:2108.07755)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.atss import scatter_rows
from kdet.assigners.base import Assigner, finite_predictions, objects_of, usable_priors
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
        overlaps = geometry.pairwise_iou(boxes, predictions)  # [B, G, P]
        own = tf.gather(tf.transpose(scores, [0, 2, 1]), tf.maximum(labels, 0), batch_dims=1)  # [B, G, P]
        alignment = tf.pow(own, self.alpha) * tf.pow(overlaps, self.beta)
        possible = usable[:, None] & real[..., None]
        alignment = tf.where(possible, alignment, -1.0)

        count = tf.shape(alignment)[2]
        best = tf.math.top_k(alignment, tf.minimum(self.topk, count))
        chosen = tf.gather(geometry.centers(priors), best.indices)  # [B, G, K, 2]
        inside = tf.minimum(chosen - boxes[:, :, None, :2], boxes[:, :, None, 2:] - chosen)
        taken = (best.values > 0.0) & (tf.reduce_min(inside, -1) > 0.01)
        # a prior of several objects goes to the one that it overlaps most
        rivals = tf.where(scatter_rows(taken, best.indices, count), overlaps, -1.0)
        iou = tf.reduce_max(rivals, 1)  # [B, P]
        index = tf.where(iou >= 0.0, tf.argmax(rivals, 1, tf.int32), -1)

        mine = index[:, None] == tf.range(tf.shape(boxes)[1])[None, :, None]  # [B, G, P]
        alignment = tf.where(mine, alignment, 0.0)
        largest = tf.reduce_max(tf.where(mine, overlaps, 0.0), -1, keepdims=True)  # [B, G, 1]
        scaled = alignment / (tf.reduce_max(alignment, -1, keepdims=True) + 1e-7) * largest
        return Assignment(index, tf.cast(usable, tf.float32), tf.reduce_sum(scaled, 1))
