"""The shape that every loss has."""

import tensorflow as tf

from kdet.registry import Component


class Loss(Component):
    """Weighted sum of elementwise losses over a normalizer.

    Subclasses give ``elementwise(pred, target) -> tensor``. Predictions are taken in float32, whatever
    the compute dtype.
    """

    loss_weight = 1.0

    def elementwise(self, pred, target):
        """Loss of every element, before weights."""
        raise NotImplementedError(f"{type(self).__name__} must define elementwise().")

    def __call__(self, pred, target, weight=None, avg_factor=None):
        """The scalar loss.

        Args:
            pred, target: as the subclass says.
            weight: weights that broadcast to the elementwise losses from the left (``[B,P]`` weighs
                all elements of a row).
            avg_factor: the sum is divided by it; the number of elements when None.
        """
        loss = self.elementwise(tf.cast(pred, tf.float32), target)
        if weight is not None:
            while weight.shape.rank < loss.shape.rank:
                weight = weight[..., None]
            # a row of weight 0 may hold anything, infinities too
            loss = tf.where(weight > 0, loss * weight, 0.0)
        if avg_factor is None:
            return self.loss_weight * tf.reduce_mean(loss)
        return self.loss_weight * tf.reduce_sum(loss) / (avg_factor + 1.1920929e-07)
