"""Features at points between the pixels (PointRend, Kirillov et al. 2020)."""

import tensorflow as tf

from kdet.ops.bilinear import bilinear_rows


def point_sample(features, points, align_corners=False):
    """Bilinear samples at relative positions.

    Args:
        features: ``[B,H,W,C]``.
        points: ``[B,P,2]`` float32, (x, y) relative to the map. Off the map features are 0.
        align_corners: whether 0 and 1 are the centres of the outer pixels or the map's outer edges.

    Returns:
        ``[B,P,C]`` of the features' dtype. Differentiable in both.
    """
    features = tf.convert_to_tensor(features)
    points = tf.cast(points, tf.float32)
    batch, height, width = (tf.shape(features)[k] for k in range(3))
    size = tf.cast(tf.stack([width, height]), tf.float32)
    place = points * (size - 1.0) if align_corners else points * size - 0.5
    first = tf.broadcast_to(tf.range(batch)[:, None] * (height * width), tf.shape(points)[:2])
    x, y = (tf.reshape(place[..., k], [-1]) for k in range(2))
    table = tf.reshape(features, [-1, features.shape[-1]])
    sampled = bilinear_rows(table, tf.reshape(first, [-1]), height, width, 1, y, x, tf.ones_like(y))
    sampled = tf.reshape(sampled, tf.concat([tf.shape(points)[:2], [features.shape[-1]]], 0))
    return tf.ensure_shape(sampled, [*points.shape[:2], features.shape[-1]])
