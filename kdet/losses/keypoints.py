"""Losses of detectors by keypoints."""

import tensorflow as tf

from kdet.losses.base import Loss
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class GaussianFocalLoss(Loss):
    """Focal loss on heat maps whose peaks are soft (CornerNet, Law & Deng, 2018).

    Args:
        alpha: power of the error.
        gamma: power by which negatives near a peak count less.

    Call: ``pred [..., C]`` probabilities, ``target [..., C]`` in [0, 1], 1 at a keypoint only.
    """

    def __init__(self, alpha: float = 2.0, gamma: float = 4.0, loss_weight: float = 1.0) -> None:
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        positive = -tf.math.log(pred + 1e-12) * tf.pow(1.0 - pred, self.alpha)
        negative = -tf.math.log(1.0 - pred + 1e-12) * tf.pow(pred, self.alpha)
        return tf.where(target == 1.0, positive, negative * tf.pow(1.0 - target, self.gamma))


@register
class AssociativeEmbeddingLoss(Component):
    """Pulls embeddings of an object's corners together, pushes objects apart (Newell et al., 2016).

    Sums over the images, means within each.

    Args:
        pull_weight, push_weight: factors of the two.
    """

    def __init__(self, pull_weight: float = 0.25, push_weight: float = 0.25) -> None:
        self.pull_weight, self.push_weight = pull_weight, push_weight

    def __call__(self, first: Tensor, second: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The two scalars ``(pull, push)``.

        Args:
            first, second: ``[B,G,E]``, of the objects' corners.
            real: bool ``[B,G]``, False for padding.
        """
        weight = tf.cast(real, tf.float32)
        count = tf.reduce_sum(weight, 1)  # [B]
        mean = (first + second) / 2.0
        spread = tf.reduce_sum(tf.square(first - mean) + tf.square(second - mean), 2)
        pull = tf.reduce_sum(spread * weight, 1) / tf.maximum(count, 1.0)
        pairs = weight[:, :, None] * weight[:, None]
        pairs = tf.linalg.set_diag(pairs, tf.zeros_like(weight))
        between = tf.abs(tf.reduce_sum(mean[:, :, None] - mean[:, None], -1))  # [B, G, G]
        push = tf.reduce_sum(tf.nn.relu(1.0 - between) * pairs, [1, 2])
        push /= tf.maximum(count * (count - 1.0), 1.0)
        return self.pull_weight * tf.reduce_sum(pull), self.push_weight * tf.reduce_sum(push)
