"""Boxes by their sides: a bucket for each side and an offset within it (SABL; Wang et al., 2020)."""

import math

import tensorflow as tf

from kdet import geometry
from kdet.coders.base import Coder
from kdet.registry import register
from kdet.typing import Tensor


@register
class BucketingCoder(Coder):
    """Sides of a box among the buckets of an enlarged prior.

    Half of the buckets of an axis belong to one side, counted from the prior's border inwards. Sides are in
    the order left, right, top, bottom.

    Args:
        num_buckets: per axis.
        scale: factor by which priors are enlarged.
        num_offsets: buckets per side that learn an offset, the nearest first.
        clip_border: decoded boxes are cut to the last pixel of the image.
    """

    def __init__(
        self, num_buckets: int = 14, scale: float = 1.7, num_offsets: int = 2, clip_border: bool = True
    ) -> None:
        self.num_buckets, self.scale, self.num_offsets = num_buckets, scale, num_offsets
        self.clip_border = clip_border

    @property
    def side_buckets(self) -> int:
        """Buckets per side."""
        return math.ceil(self.num_buckets / 2)

    def buckets(self, priors: Tensor) -> tuple[Tensor, Tensor]:
        """Centers of the buckets ``[..., 4, n]`` and their sizes ``[..., 4, 1]``."""
        x1, y1, x2, y2 = tf.unstack(geometry.scale_boxes(priors, self.scale), axis=-1)
        w, h = (x2 - x1) / self.num_buckets, (y2 - y1) / self.num_buckets
        size = tf.stack([w, w, h, h], -1)[..., None]
        inwards = tf.constant([1.0, -1.0, 1.0, -1.0])[:, None] * size
        steps = tf.range(self.side_buckets, dtype=tf.float32) + 0.5
        return tf.stack([x1, x2, y1, y2], -1)[..., None] + inwards * steps, size

    def encode(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Targets of boxes.

        Args:
            priors, boxes: ``[..., 4]``.

        Returns:
            ``(buckets, bucket_weights, offsets, offset_weights)``, each float32 ``[..., 4, n]``: one-hot
            buckets, and offsets in sizes of a bucket. The neighbor of the right bucket has no weight.
        """
        centers, size = self.buckets(priors)
        x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
        offsets = (centers - tf.stack([x1, x2, y1, y2], -1)[..., None]) / size
        distance = tf.abs(offsets)
        nearest, places = tf.math.top_k(-distance, self.num_offsets)
        chosen = tf.one_hot(places, self.side_buckets)  # [..., 4, num_offsets, n]
        # only the nearest may be more than a bucket away
        near = tf.concat([tf.ones_like(nearest[..., :1], bool), nearest[..., 1:] > -1.0], -1)
        offset_weights = tf.reduce_sum(chosen * tf.cast(near, tf.float32)[..., None], -2)
        buckets = chosen[..., 0, :]
        ambiguous = tf.logical_and(distance < 1.0, buckets == 0.0)
        return buckets, tf.where(ambiguous, 0.0, 1.0), offsets, offset_weights

    def decode(
        self, priors: Tensor, buckets: Tensor, offsets: Tensor, max_size: Tensor | None = None
    ) -> Tensor:
        """Boxes from predictions.

        Args:
            priors: ``[..., 4]``.
            buckets, offsets: ``[..., 4*n]``; logits and offsets.
            max_size: ``[B,2]`` (h, w) to cut the boxes to, or None.

        Returns:
            float32 ``[..., 4]``.
        """
        centers, size = self.buckets(priors)
        places = tf.argmax(self.per_side(buckets), -1)
        best = tf.one_hot(places, self.side_buckets, True, False)
        # a choice, not a product with 0: priors of padding may have infinite buckets
        sides = tf.where(best, centers - self.per_side(offsets) * size, 0.0)
        left, right, top, bottom = tf.unstack(tf.reduce_sum(sides, -1), axis=-1)
        boxes = tf.stack([left, top, right, bottom], -1)
        return geometry.clip(boxes, max_size - 1.0) if self.clip_border and max_size is not None else boxes

    def confidence(self, buckets: Tensor) -> Tensor | None:
        """How sure the sides are: ``[..., 4*n]`` logits -> ``[...]``, the mean share of each best bucket.

        The second best counts too where it is the neighbor of the best.
        """
        share, places = tf.math.top_k(tf.nn.softmax(self.per_side(buckets)), 2)
        beside = tf.cast(tf.abs(places[..., 0] - places[..., 1]) == 1, tf.float32)
        return tf.reduce_mean(share[..., 0] + share[..., 1] * beside, -1)

    def per_side(self, x: Tensor) -> Tensor:
        """``[..., 4*n] -> [..., 4, n]`` float32."""
        shape = tf.concat([tf.shape(x)[:-1], [4, self.side_buckets]], 0)
        return tf.reshape(tf.cast(x, tf.float32), shape)
