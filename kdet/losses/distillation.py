"""Losses between a student's and a teacher's predictions."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class DistillationLoss(Loss):
    """Kullback-Leibler divergence of softened distributions (Hinton et al., 2015), averaged over the places.

    Args:
        temperature: divides the logits; the loss is multiplied by its square.

    Call: ``pred [..., n]`` and ``target [..., n]`` logits.
    """

    def __init__(self, temperature: float = 10.0, loss_weight: float = 1.0) -> None:
        self.temperature, self.loss_weight = temperature, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        target = tf.stop_gradient(tf.nn.log_softmax(target / self.temperature))
        difference = target - tf.nn.log_softmax(pred / self.temperature)
        return tf.reduce_mean(tf.exp(target) * difference, -1) * self.temperature**2
