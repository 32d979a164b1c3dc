"""Multi-scale deformable attention (Deformable DETR, Zhu et al. 2021)."""

import numbers
from collections.abc import Sequence

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_shapes, known_size
from kdet.ops.bilinear import bilinear_rows
from kdet.ops.marks import marked
from kdet.typing import Pair, Tensor


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Sequence[Pair],
    locations: Tensor,
    weights: Tensor,
    implementation: str | None = None,
) -> Tensor:
    """Every query and head sums a few weighted samples of every level.

    Args:
        value: ``[B,S,heads,D]``, the levels one after the other, each row by row.
        spatial_shapes: ``[(h, w), ...]`` per level (ints or scalars), the sum of ``h*w`` is S.
        locations: ``[B,Q,heads,levels,points,2]``, (x, y) relative to the level: 0 and 1 are its
            outer edges. Places off the map count as 0. Best float32: half precision is coarser
            than a pixel of a large map allows.
        weights: ``[B,Q,heads,levels,points]``.

    Returns:
        ``[B,Q,heads*D]`` of the value's dtype. Differentiable in value, locations and weights.
    """
    value = tf.convert_to_tensor(value)
    locations, weights = tf.convert_to_tensor(locations), tf.convert_to_tensor(weights)
    check_shapes(
        "ms_deform_attn",
        {"levels": len(spatial_shapes), "S": _pixels(spatial_shapes)},
        value=(value, "B S heads D"),
        locations=(locations, "B Q heads levels points 2"),
        weights=(weights, "B Q heads levels points"),
    )
    heads, depth = (known_size("ms_deform_attn", "value", value, axis) for axis in (2, 3))
    form = dispatch.choose(
        "ms_deform_attn", implementation, portable=_portable, compiled_form=_compiled, dtype=value.dtype
    )
    attended = form(value, spatial_shapes, locations, weights)
    return tf.ensure_shape(attended, [*locations.shape[:2], heads * depth])


def _pixels(spatial_shapes: Sequence[Pair]) -> int | None:
    """Pixels of all levels together; None where sizes are tensors."""
    sizes = [size for shape in spatial_shapes for size in shape]
    if not all(isinstance(size, numbers.Integral) for size in sizes):
        return None
    if min(sizes, default=0) < 0:
        raise ValueError(f"ms_deform_attn: spatial_shapes are {spatial_shapes}, but must not be negative.")
    return int(sum(height * width for height, width in spatial_shapes))


def _compiled(value: Tensor, spatial_shapes: Sequence[Pair], locations: Tensor, weights: Tensor) -> Tensor:
    shapes = tf.cast(tf.stack([tf.stack(shape) for shape in spatial_shapes]), tf.int32)
    # The op reads places of the value's dtype as they are: in float32 they can be twice its output.
    if not value.dtype == locations.dtype == weights.dtype:
        locations, weights = tf.cast(locations, tf.float32), tf.cast(weights, tf.float32)
    return compiled.library().kdet_ms_deform_attn(
        value=value, shapes=shapes, locations=locations, weights=weights
    )


@tf.RegisterGradient("KdetMsDeformAttn")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    value, shapes, locations, weights = op.inputs
    for_value, for_locations, for_weights = compiled.library().kdet_ms_deform_attn_grad(
        upstream=upstream, value=value, shapes=shapes, locations=locations, weights=weights
    )
    return for_value, None, for_locations, for_weights


@marked("ms_deform_attn")
def _portable(value: Tensor, spatial_shapes: Sequence[Pair], locations: Tensor, weights: Tensor) -> Tensor:
    locations, weights = tf.cast(locations, tf.float32), tf.cast(weights, tf.float32)
    heads, depth = value.shape[2:]
    batch, pixels, queries = tf.shape(value)[0], tf.shape(value)[1], tf.shape(locations)[1]
    points = known_size("ms_deform_attn", "locations", locations, 4)
    table = tf.reshape(value, [-1, depth])
    samples = tf.stack([batch, queries, heads, points])
    image = tf.range(batch)[:, None, None, None] * (pixels * heads)
    of_head = tf.reshape(tf.broadcast_to(image + tf.range(heads)[:, None], samples), [-1])
    # unstacked: TensorFlow's TFLite runtime has no strided slices of six dimensions
    of_width, of_height = tf.unstack(locations, num=2, axis=-1)
    level_start, total = 0, 0.0
    for level, (height, width) in enumerate(spatial_shapes):
        x = of_width[:, :, :, level] * tf.cast(width, tf.float32) - 0.5
        y = of_height[:, :, :, level] * tf.cast(height, tf.float32) - 0.5
        place = (tf.reshape(v, [-1]) for v in (y, x, weights[:, :, :, level]))
        seen = bilinear_rows(table, of_head + level_start * heads, height, width, heads, *place)
        total += tf.reduce_sum(tf.reshape(seen, [-1, points, depth]), axis=1)
        level_start += height * width
    return tf.reshape(total, tf.stack([batch, queries, heads * depth]))
