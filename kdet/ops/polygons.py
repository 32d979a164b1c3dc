"""Polygons as bit-packed masks, pixel for pixel as COCO's own tools draw them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_image
from kdet.typing import Tensor

# Pixels lie in a grid of fifths; an edge counts where it passes the middle of a column of pixels.
_FIFTHS = 5.0
_FURTHEST = 1e8  # the fifths are int32


def polygons_of(segmentations: Sequence[Sequence[Sequence[float]]]) -> tf.RaggedTensor:
    """COCO's lists of polygons as a ragged tensor.

    Args:
        segmentations: per object a list of polygons, each ``[x, y, x, y, ...]``.

    Returns:
        float64 ``tf.RaggedTensor [G, (polygons), (points), 2]``.
    """
    polygons = [np.asarray(polygon, np.float64) for object_ in segmentations for polygon in object_]
    if odd := [len(polygon) for polygon in polygons if polygon.ndim != 1 or len(polygon) % 2]:
        raise ValueError(f"A polygon is a flat list x, y, x, y, ... of even length, not of {odd[0]}.")
    points = np.concatenate([np.zeros(0), *polygons]).reshape(-1, 2)
    per_polygon = tf.RaggedTensor.from_row_lengths(
        points, np.asarray([len(p) // 2 for p in polygons], np.int32)
    )
    return tf.RaggedTensor.from_row_lengths(
        per_polygon, np.asarray([len(object_) for object_ in segmentations], np.int32)
    )


def rasterize_polygons(
    polygons: tf.RaggedTensor, height: int, width: int, implementation: str | None = None
) -> Tensor:
    """Masks of objects, each the union of its polygons.

    The rule is that of pycocotools, in float64, so that training targets are the reference's. Polygons of
    fewer than three points are empty.

    Args:
        polygons: float64 ragged ``[G, (polygons), (points), 2]`` of (x, y) in pixels (`polygons_of`).
        height, width: of the masks.

    Returns:
        ``[G,height,ceil(width/8)]`` uint8, bits along the width, most significant first. No gradient.
    """
    if polygons.dtype != tf.float64 or polygons.ragged_rank != 2:
        raise ValueError(
            f"rasterize_polygons needs float64 of ragged rank 2, not {polygons.dtype.name} of rank "
            f"{polygons.ragged_rank}: in float32 corners round to other fifths of a pixel."
        )
    check_image("rasterize_polygons", height, width)
    points = tf.reshape(tf.stop_gradient(polygons.flat_values), [-1, 2])
    splits = (tf.cast(part.row_splits, tf.int32) for part in (polygons.values, polygons))
    size = tf.cast(tf.stack([height, width]), tf.int32)
    form = dispatch.choose("rasterize_polygons", implementation, portable=_portable, compiled_form=_compiled)
    return form(points, *splits, size)


def _compiled(points: Tensor, polygons: Tensor, objects: Tensor, size: Tensor) -> Tensor:
    return compiled.library().kdet_rasterize_polygons(
        points=points, polygons=polygons, objects=objects, size=size
    )


tf.no_gradient("KdetRasterizePolygons")


@tf.function(autograph=False, reduce_retracing=True)
def _portable(points: Tensor, polygons: Tensor, objects: Tensor, size: Tensor) -> Tensor:
    legal = tf.reduce_all(tf.abs(points) <= _FURTHEST)  # not so of NaN
    sentence = f"rasterize_polygons: coordinates must be finite, at most {_FURTHEST:g} from 0, not"
    with tf.control_dependencies([tf.debugging.Assert(legal, [sentence, points])]):
        points = tf.identity(points)
    height, width = size[0], size[1]
    count, polygon_count = tf.shape(points)[0], tf.shape(polygons)[0] - 1
    of_polygon = tf.searchsorted(polygons[1:], tf.range(count), side="right")  # [E]
    begin, end = tf.gather(polygons, of_polygon), tf.gather(polygons, of_polygon + 1)
    following = tf.where(tf.range(count) + 1 < end, tf.range(count) + 1, begin)
    fine = tf.cast(_FIFTHS * points + 0.5, tf.int32)
    rows = _crossings(fine, tf.gather(fine, following), height, width)  # [E, W]
    rows = tf.where((end - begin >= 3)[:, None], rows, -1)
    # Every crossing turns the pixels below it: count the crossings from above.
    crossing = tf.where((rows >= 0) & (rows < height))  # [K, 2] of (edge, column)
    place = tf.stack(
        [
            tf.gather(of_polygon, crossing[:, 0]),
            tf.gather_nd(rows, crossing),
            tf.cast(crossing[:, 1], tf.int32),
        ],
        1,
    )
    turns = tf.scatter_nd(place, tf.ones_like(place[:, 0]), tf.stack([polygon_count, height, width]))
    inside = tf.cumsum(turns, axis=1) & 1
    of_object = tf.searchsorted(objects[1:], tf.range(polygon_count), side="right")
    masks = tf.math.unsorted_segment_sum(inside, of_object, tf.shape(objects)[0] - 1) > 0
    row_bytes = (width + 7) // 8
    masks = tf.pad(masks, [[0, 0], [0, 0], [0, row_bytes * 8 - width]])
    bits = tf.reshape(tf.cast(masks, tf.int32), tf.concat([tf.shape(masks)[:2], [row_bytes, 8]], 0))
    return tf.cast(tf.reduce_sum(bits * [128, 64, 32, 16, 8, 4, 2, 1], -1), tf.uint8)


def _crossings(start: Tensor, end: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Rows ``[E,W]`` where edges between points in fifths, ``[E,2]`` each, cross the columns; -1: nowhere."""
    left = 5 * tf.range(width)[None, :] + 2  # the last fifth before the middle of each column
    (x0, y0), (x1, y1) = (tf.unstack(p[:, None], axis=2) for p in (start, end))
    dx, dy = abs(x1 - x0), abs(y1 - y0)

    def ordered(turned: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return tf.where(turned, last, first), tf.where(turned, first, last)

    def along(first: Tensor, slope: Tensor, step: Tensor) -> Tensor:
        return tf.cast(tf.cast(first, tf.float64) + slope * tf.cast(step, tf.float64) + 0.5, tf.int32)

    # Flat edges step from the left by one column of fifths at a time.
    (x, _), (first, last) = ordered(x0 > x1, x0, x1), ordered(x0 > x1, y0, y1)
    slope = tf.math.divide_no_nan(tf.cast(last - first, tf.float64), tf.cast(dx, tf.float64))
    flat = tf.minimum(along(first, slope, left - x), along(first, slope, left + 1 - x))
    # Steep edges step from above by one row; find the step that passes the middle of the column.
    (top, _), (first, last) = ordered(y0 > y1, y0, y1), ordered(y0 > y1, x0, x1)
    slope = tf.math.divide_no_nan(tf.cast(last - first, tf.float64), tf.cast(dy, tf.float64))
    guess = tf.math.divide_no_nan(tf.cast(left - first, tf.float64) + 0.5, slope)
    step = tf.clip_by_value(tf.cast(tf.clip_by_value(guess, 0.0, 2e9), tf.int32) - 2, 0, dy)
    before = first <= left
    for _ in range(4):  # the guess is off by rounding only
        step += tf.cast((step < dy) & ((along(first, slope, step) <= left) == before), tf.int32)
    fine_row = tf.where(dx >= dy, flat, top + step - 1)
    crosses = (tf.minimum(x0, x1) <= left) & (tf.maximum(x0, x1) > left)
    return tf.where(crosses, tf.minimum((tf.maximum(fine_row, 0) + 2) // 5, height), -1)
