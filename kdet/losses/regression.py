"""Losses on coordinates, element by element."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register


@register
class L1Loss(Loss):
    """Absolute difference. ``pred`` and ``target`` of one shape."""

    def __init__(self, loss_weight=1.0):
        self.loss_weight = loss_weight

    def elementwise(self, pred, target):
        return tf.abs(pred - target)


@register
class SmoothL1Loss(Loss):
    """Quadratic below ``beta``, linear above (Girshick, 2015)."""

    def __init__(self, beta=1.0, loss_weight=1.0):
        self.beta, self.loss_weight = beta, loss_weight

    def elementwise(self, pred, target):
        return smooth_l1(tf.abs(pred - target), self.beta)


def smooth_l1(difference, beta):
    """Huber-like form of a non-negative difference, slope 1 beyond ``beta``."""
    return tf.where(difference < beta, 0.5 * tf.square(difference) / beta, difference - 0.5 * beta)
