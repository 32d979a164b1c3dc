"""Seesaw loss for data with many rare classes (Wang et al., 2021, https://arxiv.org/abs/2008.10032)."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class SeesawLoss(Loss):
    """Cross entropy that spares rare classes the gradient of objects of frequent ones.

    Args:
        p: strength of the mitigation: the rarer a class than that of an object, the less it is pushed down.
        q: strength of the compensation: a class that scores above the right one is pushed down more.
        epsilon: least score of the right class that others are compared with.
        loss_weight: factor.

    Call: as ``CrossEntropyLoss``, on logits that went through ``weighed``.
    """

    def __init__(
        self, p: float = 0.8, q: float = 2.0, epsilon: float = 0.01, loss_weight: float = 1.0
    ) -> None:
        self.p, self.q, self.epsilon, self.loss_weight = p, q, epsilon, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=pred)

    def weighed(self, logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        """The logits of the wrong classes moved by the logarithms of their weights.

        Args:
            logits: ``[N,C]``.
            target: int32 ``[N]``, below C.
            counts: float32 ``[C]``, objects of every class so far.
        """
        logits = tf.cast(logits, tf.float32)
        frequency = tf.math.log(tf.maximum(counts, 1.0))
        mitigation = self.p * tf.minimum(frequency - tf.gather(frequency, target)[:, None], 0.0)
        scores = tf.stop_gradient(tf.nn.log_softmax(logits))
        own = tf.maximum(
            tf.gather(scores, target, batch_dims=1), tf.math.log(tf.constant(self.epsilon, tf.float32))
        )
        compensation = self.q * tf.maximum(scores - own[:, None], 0.0)
        wrong = 1.0 - tf.one_hot(target, logits.shape[-1])
        return logits + wrong * (mitigation + compensation)
