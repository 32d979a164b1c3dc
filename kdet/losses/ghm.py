"""Gradient-harmonized losses: samples count the less the more of their kind there are (Li et al., 2019)."""

from typing import Any, ClassVar

import tensorflow as tf

from kdet.layers import Layer
from kdet.registry import register
from kdet.typing import Tensor


class GradientHarmonised(Layer):
    """A loss with a running histogram of gradient lengths; subclasses give ``elementwise``.

    Args:
        bins: of the histogram over [0, 1].
        momentum: weight of the old counts.
        loss_weight: factor.

    Attributes:
        uses_boxes: never; see ``kdet.losses.Loss``.

    Call: ``pred [..., C], target, weight``, as other losses; weights only say what counts. It moves the
    histogram, so it belongs into a training step.
    """

    uses_boxes: ClassVar[bool] = False

    def __init__(
        self, bins: int = 10, momentum: float = 0.75, loss_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.bins, self.momentum, self.loss_weight = bins, momentum, loss_weight
        self.acc_sum = self.add_weight(
            name="acc_sum", shape=(bins,), initializer="zeros", trainable=False, dtype="float32",
            aggregation="mean",
        )  # fmt: skip
        self.built = True

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        """``(loss, length of the gradient in [0, 1])`` of every element."""
        raise NotImplementedError(f"{type(self).__name__} must define elementwise().")

    def call(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        loss, length = self.elementwise(tf.cast(pred, tf.float32), target)
        valid = tf.cast(tf.broadcast_to(weight[..., None] > 0, tf.shape(loss)), tf.float32)
        place = tf.cast(tf.stop_gradient(length) * self.bins, tf.int32)
        place = tf.clip_by_value(place, 0, self.bins - 1)
        counts = tf.math.unsorted_segment_sum(tf.reshape(valid, [-1]), tf.reshape(place, [-1]), self.bins)
        used = counts > 0
        known = tf.convert_to_tensor(self.acc_sum)
        known = tf.where(used, self.momentum * known + (1.0 - self.momentum) * counts, known)
        self.acc_sum.assign(known)
        share = tf.where(used, 1.0 / tf.where(used, known, 1.0), 0.0)
        share /= tf.maximum(tf.reduce_sum(tf.cast(used, tf.float32)), 1.0)
        return self.loss_weight * tf.reduce_sum(loss * tf.gather(share, place) * valid)


@register
class GHMClassificationLoss(GradientHarmonised):
    """Binary cross entropy per class; ``target [...]`` int32 with C as background."""

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        target = tf.one_hot(target, pred.shape[-1])
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=pred)
        return loss, tf.abs(tf.sigmoid(pred) - target)


@register
class GHMRegressionLoss(GradientHarmonised):
    """Smooth absolute difference ``sqrt(d^2 + mu^2) - mu``; ``target`` like ``pred``."""

    def __init__(self, mu: float = 0.02, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mu = mu

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        difference = pred - target
        root = tf.sqrt(tf.square(difference) + self.mu**2)
        return root - self.mu, tf.abs(difference / root)
