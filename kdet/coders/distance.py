"""Boxes as distances from a point to the four sides (FCOS, Tian et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.coders.base import Coder
from kdet.registry import register
from kdet.typing import Tensor


@register
class DistanceCoder(Coder):
    """Left, top, right, bottom distances from a point, in pixels.

    Args:
        clip_border: decoded boxes are cut to the image.
    """

    def __init__(self, clip_border: bool = True) -> None:
        self.clip_border = clip_border

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Distances ``[..., 4]`` of ``points [..., 2 or more]`` to the sides of ``boxes [..., 4]``.

        A side beyond which the point lies has a negative distance.
        """
        xy = points[..., :2]
        return tf.concat([xy - boxes[..., :2], boxes[..., 2:] - xy], -1)

    def decode(self, points: Tensor, distances: Tensor, max_size: Tensor | None = None) -> Tensor:
        """Boxes from distances.

        Args:
            points: ``[..., 2 or more]``, broadcastable to ``distances``.
            distances: ``[B, ..., 4]``.
            max_size: ``[B,2]`` (h, w) to cut the boxes to, or None.

        Returns:
            float32 ``[B, ..., 4]``.
        """
        xy, distances = points[..., :2], tf.cast(distances, tf.float32)
        boxes = tf.concat([xy - distances[..., :2], xy + distances[..., 2:]], -1)
        return geometry.clip(boxes, max_size) if self.clip_border and max_size is not None else boxes


def centerness(distances: Tensor, positive: Tensor) -> Tensor:
    """How central a point lies in its box: 1 in the middle, 0 on a side (Tian et al., 2019).

    Args:
        distances: ``[..., 4]`` left, top, right, bottom.
        positive: bool ``[...]``; rows without an object may hold anything.

    Returns:
        ``[...]``, 0 where not positive.
    """
    distances = tf.where(positive[..., None], distances, 1.0)
    near = tf.minimum(distances[..., :2], distances[..., 2:])
    far = tf.maximum(distances[..., :2], distances[..., 2:])
    ratio = near / far
    return tf.where(positive, tf.sqrt(ratio[..., 0] * ratio[..., 1]), 0.0)
