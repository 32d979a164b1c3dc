"""Losses on class scores."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class CrossEntropyLoss(Loss):
    """Cross entropy over classes, or independent binary ones.

    Args:
        use_sigmoid: binary cross entropy on every class; ``target`` then is the class index with
            "number of classes" as background, or a float map of the same shape as ``pred``.
        loss_weight: factor.

    Call: ``pred [..., C]`` logits, ``target [...]`` int32.
    """

    def __init__(self, use_sigmoid: bool = False, loss_weight: float = 1.0) -> None:
        self.use_sigmoid, self.loss_weight = use_sigmoid, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        if not self.use_sigmoid:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=pred)
        if target.dtype.is_integer:
            target = tf.one_hot(target, pred.shape[-1])  # the background index gives a row of zeros
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=pred)


# the least probability whose logarithm is taken
LEAST_PROBABILITY = 1e-37


def probability_cross_entropy(pred: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy of probabilities ``pred`` with ``target`` in [0, 1], element by element."""
    right = tf.math.log(tf.maximum(pred, LEAST_PROBABILITY))
    wrong = tf.math.log(tf.maximum(1.0 - pred, LEAST_PROBABILITY))
    return -(target * right + (1.0 - target) * wrong)


@register
class FocalLoss(Loss):
    """Sigmoid focal loss (Lin et al., 2017).

    Args:
        gamma, alpha: as in the paper.
        from_logits: predictions are logits; else probabilities.

    Call: ``pred [..., C]``, ``target [...]`` int32 with C as background.
    """

    def __init__(
        self, gamma: float = 2.0, alpha: float = 0.25, loss_weight: float = 1.0, from_logits: bool = True
    ) -> None:
        self.gamma, self.alpha, self.loss_weight = gamma, alpha, loss_weight
        self.from_logits = from_logits

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        positive = tf.one_hot(target, pred.shape[-1], True, False, dtype=tf.bool)
        alpha = tf.where(positive, self.alpha, 1.0 - self.alpha)
        if not self.from_logits:
            wrong = tf.where(positive, 1.0 - pred, pred)
            entropy = probability_cross_entropy(pred, tf.cast(positive, tf.float32))
            return alpha * tf.pow(wrong, self.gamma) * entropy
        # the binary problem seen from the wrong answer: z is the logit of being wrong
        z = tf.where(positive, -pred, pred)
        wrong = tf.sigmoid(z)
        modulation = tf.square(wrong) if self.gamma == 2.0 else tf.pow(wrong, self.gamma)
        return alpha * modulation * tf.nn.softplus(z)
