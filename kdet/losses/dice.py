"""Overlap of masks as a loss."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class DiceLoss(Loss):
    """1 - Dice coefficient of every mask (V-Net, Milletari et al., 2016).

    Args:
        squared: the denominator sums squares, as in the paper; otherwise the values themselves, and
            ``epsilon`` smooths the numerator too (MaskFormer).
        epsilon: added so that empty masks divide by something.
        loss_weight: factor.

    Call: ``pred [..., n]`` probabilities, ``target [..., n]`` 0 and 1; a loss per mask ``[...]``.
    """

    def __init__(self, squared: bool = True, epsilon: float = 1e-3, loss_weight: float = 1.0) -> None:
        self.squared, self.epsilon, self.loss_weight = squared, epsilon, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        common = 2.0 * tf.reduce_sum(pred * target, -1)
        if self.squared:
            own, wanted = (tf.reduce_sum(tf.square(x), -1) + self.epsilon for x in (pred, target))
            return 1.0 - common / (own + wanted)
        total = tf.reduce_sum(pred, -1) + tf.reduce_sum(target, -1)
        return 1.0 - (common + self.epsilon) / (total + self.epsilon)
