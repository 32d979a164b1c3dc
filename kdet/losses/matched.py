"""Losses on the class scores of matched sets, which are to tell the IoU of the matched boxes."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class MatchedVarifocalLoss(Loss):
    """Cross entropy with the IoU, which weighs the object's class; the others have a focal factor.

    As RT-DETR has it (Zhao et al., 2023, arXiv:2304.08069): other than in ``VarifocalLoss`` no gradient goes
    through the factor, and a matched box without overlap counts nothing.

    Args:
        alpha, gamma: of the focal factor ``alpha * p ** gamma``.

    Call: ``pred [..., C]`` logits, ``target [..., C, 2]``: 1 for the class of the matched object, and there
    the IoU; 0 elsewhere.
    """

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        wanted, score = tf.unstack(target, axis=-1)
        focal = self.alpha * tf.pow(tf.stop_gradient(tf.sigmoid(pred)), self.gamma)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=score, logits=pred)
        return entropy * (focal * (1.0 - wanted) + score)


@register
class MatchabilityAwareLoss(Loss):
    """Cross entropy with a power of the IoU, whose weight does not fall with it (Huang et al., 2024).

    https://arxiv.org/abs/2412.04234

    Args:
        alpha, gamma: of the focal factor ``alpha * p ** gamma`` of the other classes; ``gamma`` is the power
            of the IoU too.

    Call: as ``MatchedVarifocalLoss``.
    """

    def __init__(self, alpha: float = 1.0, gamma: float = 1.5, loss_weight: float = 1.0) -> None:
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        wanted, score = tf.unstack(target, axis=-1)
        focal = self.alpha * tf.pow(tf.stop_gradient(tf.sigmoid(pred)), self.gamma)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.pow(score, self.gamma), logits=pred)
        return entropy * (focal * (1.0 - wanted) + wanted)


@register
class IoUAwareLoss(Loss):
    """Cross entropy of matched queries with a mean of their probability and their IoU (LW-DETR).

    Chen et al., 2024, arXiv:2406.03459. The weighted geometric mean is at least 0.01, and no gradient goes
    through it. Other classes have the factor ``p ** gamma``, through which one goes.

    Args:
        alpha: share of the probability in the mean.
        gamma: of the factor.

    Call: as ``MatchedVarifocalLoss``.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        wanted, score = tf.unstack(target, axis=-1)
        p = tf.sigmoid(pred)
        mean = tf.pow(p, self.alpha) * tf.pow(score, 1.0 - self.alpha)
        mean = tf.stop_gradient(tf.maximum(mean, 0.01))
        matched = tf.nn.sigmoid_cross_entropy_with_logits(labels=mean, logits=pred)
        return tf.where(wanted > 0.0, matched, tf.pow(p, self.gamma) * tf.nn.softplus(pred))
