"""Maps at points between the pixels (PointRend, Kirillov et al. 2020)."""

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_shapes, known_size
from kdet.ops.bilinear import bilinear_rows
from kdet.ops.marks import marked
from kdet.typing import Tensor


def point_sample(
    features: Tensor, points: Tensor, align_corners: bool = False, implementation: str | None = None
) -> Tensor:
    """Bilinear samples at relative positions.

    Args:
        features: ``[B,H,W,C]``.
        points: ``[B,P,2]`` float32, (x, y) relative to the map. Off the map features are 0.
        align_corners: whether 0 and 1 are the centers of the outer pixels or the map's outer edges.

    Returns:
        ``[B,P,C]`` of the features' dtype. Differentiable in both.
    """
    features = tf.convert_to_tensor(features)
    points = tf.cast(points, tf.float32)
    check_shapes("point_sample", features=(features, "B H W C"), points=(points, "B P 2"))
    channels = known_size("point_sample", "features", features, -1)
    if align_corners:
        size = tf.cast(tf.shape(features)[1:3][::-1], tf.float32)
        points = (points * (size - 1.0) + 0.5) / size
    form = dispatch.choose(
        "point_sample", implementation, portable=_portable, compiled_form=_compiled, dtype=features.dtype
    )
    return tf.ensure_shape(form(features, points), [*points.shape[:2], channels])


def _compiled(features: Tensor, points: Tensor) -> Tensor:
    """Attention of one head, one level and one point."""
    pixels = tf.reshape(features, tf.concat([tf.shape(features)[:1], [-1, 1, features.shape[-1]]], 0))
    locations = points[:, :, None, None, None, :]
    return compiled.library().kdet_ms_deform_attn(
        value=pixels,
        shapes=tf.shape(features)[None, 1:3],
        locations=locations,
        weights=tf.ones_like(locations[..., 0]),
    )


@marked("point_sample")
def _portable(features: Tensor, points: Tensor) -> Tensor:
    batch, height, width = (tf.shape(features)[k] for k in range(3))
    place = points * tf.cast(tf.stack([width, height]), tf.float32) - 0.5
    first = tf.broadcast_to(tf.range(batch)[:, None] * (height * width), tf.shape(points)[:2])
    x, y = (tf.reshape(place[..., k], [-1]) for k in range(2))
    table = tf.reshape(features, [-1, features.shape[-1]])
    sampled = bilinear_rows(table, tf.reshape(first, [-1]), height, width, 1, y, x, tf.ones_like(y))
    return tf.reshape(sampled, tf.concat([tf.shape(points)[:2], [features.shape[-1]]], 0))
