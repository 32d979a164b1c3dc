"""Boxes as shifts of the center and log-ratios of the sides (Girshick et al., 2013)."""

import math
from collections.abc import Sequence

import tensorflow as tf

from kdet import geometry
from kdet.coders.base import Coder
from kdet.registry import register
from kdet.typing import Tensor


@register
class DeltaXYWHCoder(Coder):
    """The box coding of the R-CNN family.

    Args:
        means, stds: normalization of the four deltas.
        clip_border: decoded boxes are cut to the image.
        center_clamp: largest shift of the center in pixels (YOLOF), None for no limit. With it the
            sides are limited from above only.
        side_ratio: decoding shrinks no side further than by this factor, and stretches none further than
            by its inverse.
    """

    # what counts as the side of a box beyond x2 - x1
    extra = 0.0

    def __init__(
        self,
        means: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        clip_border: bool = True,
        center_clamp: float | None = None,
        side_ratio: float = 16 / 1000,
    ) -> None:
        self.means, self.stds = tuple(means), tuple(stds)
        self.clip_border, self.center_clamp = clip_border, center_clamp
        self.max_log_ratio = abs(math.log(side_ratio))

    def encode(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Deltas that move ``priors`` onto ``boxes``; both ``[..., 4]``."""
        prior_size = priors[..., 2:] - priors[..., :2] + self.extra
        size = boxes[..., 2:] - boxes[..., :2] + self.extra
        shift = (boxes[..., :2] + boxes[..., 2:] - priors[..., :2] - priors[..., 2:]) * 0.5 / prior_size
        deltas = tf.concat([shift, tf.math.log(size / prior_size)], -1)
        return (deltas - self.means) / self.stds

    def decode(self, priors: Tensor, deltas: Tensor, max_size: Tensor | None = None) -> Tensor:
        """Boxes from deltas.

        Args:
            priors: ``[..., 4]``, broadcastable to ``deltas``.
            deltas: ``[B, ..., 4]``.
            max_size: ``[B,2]`` (h, w) to cut the boxes to, or None.

        Returns:
            float32 ``[B, ..., 4]``.
        """
        deltas = tf.cast(deltas, tf.float32) * self.stds + self.means
        prior_size = priors[..., 2:] - priors[..., :2] + self.extra
        shift, log_ratio = deltas[..., :2] * prior_size, deltas[..., 2:]
        if self.center_clamp is None:
            log_ratio = tf.clip_by_value(log_ratio, -self.max_log_ratio, self.max_log_ratio)
        else:
            shift = tf.clip_by_value(shift, -self.center_clamp, self.center_clamp)
            log_ratio = tf.minimum(log_ratio, self.max_log_ratio)
        center = (priors[..., :2] + priors[..., 2:]) * 0.5 + shift
        half = prior_size * tf.exp(log_ratio) * 0.5
        boxes = tf.concat([center - half, center + half], -1)
        if self.clip_border and max_size is not None:
            return geometry.clip(boxes, max_size - self.extra)
        return boxes


@register
class LegacyDeltaXYWHCoder(DeltaXYWHCoder):
    """The coding of MMDetection 1.x, where x2 and y2 are the box's last pixels.

    Decoded boxes do not lose that pixel again, as in MMDetection.
    """

    extra = 1.0
