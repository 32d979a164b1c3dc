"""Boxes as a place within a cell and log-ratios of the sides (Redmon & Farhadi, 2016)."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.coders.base import Coder
from kdet.registry import register
from kdet.typing import Tensor

_EPSILON = 1e-6


@register
class YOLOCoder(Coder):
    """The box coding of YOLO: the center as a share of its cell, the sides against the prior's.

    Predictions of the center are logits of that share.
    """

    def encode(self, priors: Tensor, boxes: Tensor, strides: Sequence[int]) -> Tensor:
        """Targets ``[..., 4]``: the center's share of the cell in (0, 1), log-ratios of the sides.

        Args:
            priors, boxes: ``[..., 4]``.
            strides: ``[..., 1]``, size of the cells.
        """
        center = (boxes[..., :2] + boxes[..., 2:] - priors[..., :2] - priors[..., 2:]) * 0.5 / strides + 0.5
        ratio = (boxes[..., 2:] - boxes[..., :2]) / (priors[..., 2:] - priors[..., :2])
        center = tf.clip_by_value(center, _EPSILON, 1.0 - _EPSILON)
        return tf.concat([center, tf.math.log(tf.maximum(ratio, _EPSILON))], -1)

    def decode(self, priors: Tensor, predictions: Tensor, strides: Sequence[int]) -> Tensor:
        """Boxes ``[..., 4]`` from predictions ``[..., 4]``; not cut to the image."""
        shift = (tf.sigmoid(predictions[..., :2]) - 0.5) * strides
        center = (priors[..., :2] + priors[..., 2:]) * 0.5 + shift
        half = (priors[..., 2:] - priors[..., :2]) * 0.5 * tf.exp(predictions[..., 2:])
        return tf.concat([center - half, center + half], -1)
