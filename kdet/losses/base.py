"""The shape that every loss has."""

from typing import ClassVar

import tensorflow as tf

from kdet.registry import Component
from kdet.typing import Tensor


class Loss(Component):
    """Weighted sum of elementwise losses over a normalizer.

    Subclasses give ``elementwise(pred, target) -> tensor``. Predictions are taken in float32, whatever
    the compute dtype.

    Attributes:
        uses_boxes: predictions and targets are boxes ``[...,4]``, not the deltas of a coder.
        loss_weight: factor of the loss.
    """

    uses_boxes: ClassVar[bool] = False
    loss_weight: float = 1.0

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of every element, before weights."""
        raise NotImplementedError(f"{type(self).__name__} must define elementwise().")

    def __call__(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, avg_factor: Tensor | None = None
    ) -> Tensor:
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
