"""Boxes as distances of the sides from an anchor's center, in units of its size (FSAF, Zhu et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.coders.base import Coder
from kdet.registry import register
from kdet.typing import Tensor


@register
class TBLRCoder(Coder):
    """Top, bottom, left, right distances, divided by the anchor's height or width and by ``normalizer``.

    Args:
        normalizer: the unit, in sides of the anchor.
    """

    def __init__(self, normalizer: float = 4.0) -> None:
        self.normalizer = normalizer

    def decode(self, priors: Tensor, deltas: Tensor, max_size: Tensor | None = None) -> Tensor:
        """Boxes ``[B, ..., 4]`` from ``priors [..., 4]`` and deltas, cut to ``max_size [B,2]`` if given."""
        size = (priors[..., 2:] - priors[..., :2]) * self.normalizer
        top, bottom, left, right = tf.unstack(tf.cast(deltas, tf.float32), axis=-1)
        center = geometry.centers(priors)
        boxes = tf.concat(
            [center - tf.stack([left, top], -1) * size, center + tf.stack([right, bottom], -1) * size], -1
        )
        return boxes if max_size is None else geometry.clip(boxes, max_size)
