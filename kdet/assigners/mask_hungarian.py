"""One-to-one matching of predicted masks with objects and regions (Cheng et al., 2021 and 2022)."""

import tensorflow as tf

from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class MaskHungarianAssigner(Component):
    """What it costs to match a predicted class and mask with an object; ``cheapest`` finds the matching.

    The cost is that of class, mask (cross entropy or focal) and Dice; use the weights of the losses.

    Args:
        cls_weight, mask_weight, dice_weight: weights of the three.
        focal: pixels cost what the focal loss would (MaskFormer), otherwise their cross entropy.
        alpha, gamma: of the focal cost.
        epsilon: smooths the Dice coefficient.
    """

    def __init__(
        self,
        cls_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        focal: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        epsilon: float = 1.0,
    ) -> None:
        self.cls_weight, self.mask_weight, self.dice_weight = cls_weight, mask_weight, dice_weight
        self.focal, self.alpha, self.gamma, self.epsilon = focal, alpha, gamma, epsilon

    def __call__(self, logits: Tensor, masks: Tensor, labels: Tensor, truth: Tensor) -> Tensor:
        """Cost of every pair ``[B,Q,G]``, without a gradient.

        Args:
            logits: of the classes and of none ``[B,Q,C+1]``.
            masks: logits at ``P`` pixels or points ``[B,P,Q]``.
            labels: int32 ``[B,G]``, -1 where a row is padding.
            truth: the objects' masks at the same places, 0..1, ``[B,G,P]``.
        """
        logits = tf.stop_gradient(tf.cast(logits, tf.float32))
        by_class = -tf.gather(tf.nn.softmax(logits), tf.maximum(labels, 0), axis=2, batch_dims=1)
        return self.cls_weight * by_class + self.mask_costs(masks, truth)

    def mask_costs(self, masks: Tensor, truth: Tensor) -> Tensor:
        """The cost of masks alone; arguments as in a call."""
        masks, truth = (tf.stop_gradient(tf.cast(x, tf.float32)) for x in (masks, truth))
        of_one, of_zero = self.pixel_costs(masks)
        places = tf.cast(tf.shape(masks)[1], tf.float32)
        pixels = tf.matmul(of_one - of_zero, truth, transpose_a=True, transpose_b=True)  # [B, Q, G]
        pixels = (pixels + tf.reduce_sum(of_zero, 1)[..., None]) / places
        inside = tf.sigmoid(masks)
        common = 2.0 * tf.matmul(inside, truth, transpose_a=True, transpose_b=True)
        total = tf.reduce_sum(inside, 1)[..., None] + tf.reduce_sum(truth, 2)[:, None]
        dice = 1.0 - (common + self.epsilon) / (total + self.epsilon)
        return self.mask_weight * pixels + self.dice_weight * dice

    def pixel_costs(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """What a pixel costs where it should be 1 and where it should be 0."""
        if not self.focal:
            return tf.nn.softplus(-masks), tf.nn.softplus(masks)
        p = tf.sigmoid(masks)
        of_one = -tf.math.log(p + 1e-12) * self.alpha * tf.pow(1.0 - p, self.gamma)
        of_zero = -tf.math.log(1.0 - p + 1e-12) * (1.0 - self.alpha) * tf.pow(p, self.gamma)
        return of_one, of_zero
