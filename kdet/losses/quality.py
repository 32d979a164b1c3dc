"""Losses on class scores that are to tell the quality of the box too."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.losses.classification import probability_cross_entropy
from kdet.registry import register
from kdet.typing import Tensor


@register
class QualityFocalLoss(Loss):
    """Focal loss with soft targets (Li et al., 2020, "Generalized Focal Loss").

    Args:
        beta: power of the error.
        from_logits: predictions are logits; else probabilities.

    Call: ``pred [..., C]``, ``target [..., C]`` in [0, 1]: the IoU in the column of the object's
    class, 0 elsewhere.
    """

    def __init__(self, beta: float = 2.0, loss_weight: float = 1.0, from_logits: bool = True) -> None:
        self.beta, self.loss_weight, self.from_logits = beta, loss_weight, from_logits

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        if not self.from_logits:
            return probability_cross_entropy(pred, target) * tf.pow(tf.abs(pred - target), self.beta)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=pred)
        return entropy * tf.pow(tf.abs(tf.sigmoid(pred) - target), self.beta)


@register
class VarifocalLoss(Loss):
    """Weighs positives by their IoU and only negatives by the focal factor (Zhang et al., 2021).

    Call: as ``QualityFocalLoss``.
    """

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=pred)
        focal = self.alpha * tf.pow(tf.abs(tf.sigmoid(pred) - target), self.gamma)
        return entropy * tf.where(target > 0.0, target, focal)


@register
class DistributionFocalLoss(Loss):
    """Cross entropy with the two whole numbers around a target (Li et al., 2020).

    Call: ``pred [..., n]`` logits over 0..n-1, ``target [...]`` in [0, n-1).
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        self.loss_weight = loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        places = tf.range(pred.shape[-1], dtype=tf.float32)
        share = tf.nn.relu(1.0 - tf.abs(places - target[..., None]))  # linear between the neighbors
        return -tf.reduce_sum(share * tf.nn.log_softmax(pred), -1)
