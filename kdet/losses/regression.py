"""Losses on coordinates, element by element."""

import math

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class L1Loss(Loss):
    """Absolute difference. ``pred`` and ``target`` of one shape."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        self.loss_weight = loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return tf.abs(pred - target)


@register
class MSELoss(Loss):
    """Squared difference."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        self.loss_weight = loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return tf.math.squared_difference(pred, target)


@register
class SmoothL1Loss(Loss):
    """Quadratic below ``beta``, linear above (Girshick, 2015)."""

    def __init__(self, beta: float = 1.0, loss_weight: float = 1.0) -> None:
        self.beta, self.loss_weight = beta, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return smooth_l1(tf.abs(pred - target), self.beta)


@register
class BalancedL1Loss(Loss):
    """Smooth L1 with larger gradients for the accurate samples (Pang et al., 2019).

    Args:
        alpha: gradient of the accurate samples; smaller raises it.
        gamma: slope of the inaccurate ones.
        beta: difference from which on the loss is linear.
    """

    def __init__(
        self, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        self.alpha, self.gamma, self.beta, self.loss_weight = alpha, gamma, beta, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        difference = tf.abs(pred - target)
        b = math.exp(self.gamma / self.alpha) - 1.0
        # the logarithm's argument stays small where the linear part is taken
        near = tf.minimum(difference, self.beta)
        curve = (
            self.alpha / b * (b * near + 1.0) * tf.math.log(b * near / self.beta + 1.0) - self.alpha * near
        )
        # the published implementation joins the two parts with this constant, also where beta is not 1
        line = self.gamma * difference + self.gamma / b - self.alpha * self.beta
        return tf.where(difference < self.beta, curve, line)


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Huber-like form of a non-negative difference, slope 1 beyond ``beta``."""
    return tf.where(difference < beta, 0.5 * tf.square(difference) / beta, difference - 0.5 * beta)
