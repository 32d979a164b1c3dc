"""The box coding of MMDetection 1.x, whose boxes include their last row and column."""

import tensorflow as tf

from kdet import geometry
from kdet.coders.delta_xywh import MAX_LOG_RATIO
from kdet.registry import Component, register


@register
class LegacyDeltaXYWHCoder(Component):
    """As ``DeltaXYWHCoder``, with sides one pixel longer than the difference of the corners.

    Decoding leaves out the half pixel that would undo this, as the reference does: its converted checkpoints
    score higher so.

    Args:
        means, stds: normalisation of the four deltas.
    """

    def __init__(self, means=(0.0, 0.0, 0.0, 0.0), stds=(1.0, 1.0, 1.0, 1.0)):
        self.means, self.stds = tuple(means), tuple(stds)

    def encode(self, priors, boxes):
        """Deltas that move ``priors`` onto ``boxes``; both ``[..., 4]``."""
        size, target_size = _size(priors), _size(boxes)
        shift = (boxes[..., :2] + boxes[..., 2:] - priors[..., :2] - priors[..., 2:]) * 0.5 / size
        return (tf.concat([shift, tf.math.log(target_size / size)], -1) - self.means) / self.stds

    def decode(self, priors, deltas, max_size=None):
        """Boxes ``[B,...,4]``; with ``max_size [B,2]`` (h, w) cut to the last row and column."""
        deltas = tf.cast(deltas, tf.float32) * self.stds + self.means
        size = _size(priors)
        center = (priors[..., :2] + priors[..., 2:]) * 0.5 + deltas[..., :2] * size
        half = size * tf.exp(tf.clip_by_value(deltas[..., 2:], -MAX_LOG_RATIO, MAX_LOG_RATIO)) * 0.5
        boxes = tf.concat([center - half, center + half], -1)
        return boxes if max_size is None else geometry.clip(boxes, max_size - 1.0)


def _size(boxes):
    return boxes[..., 2:] - boxes[..., :2] + 1.0
