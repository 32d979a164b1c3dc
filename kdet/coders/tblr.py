"""Boxes as distances of the sides from an anchor's center, in units of its size (FSAF, Zhu et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.registry import Component, register


@register
class TBLRCoder(Component):
    """Top, bottom, left, right distances, divided by the anchor's height or width and by ``normalizer``.

    Args:
        normalizer: the unit, in sides of the anchor.
    """

    def __init__(self, normalizer=4.0):
        self.normalizer = normalizer

    def decode(self, priors, deltas, max_size=None):
        """Boxes ``[B, ..., 4]`` from ``priors [..., 4]`` and deltas, cut to ``max_size [B,2]`` if given."""
        size = (priors[..., 2:] - priors[..., :2]) * self.normalizer
        top, bottom, left, right = tf.unstack(tf.cast(deltas, tf.float32), axis=-1)
        center = geometry.centers(priors)
        boxes = tf.concat(
            [center - tf.stack([left, top], -1) * size, center + tf.stack([right, bottom], -1) * size], -1
        )
        return boxes if max_size is None else geometry.clip(boxes, max_size)
