"""The cells of the maps as places that queries start from."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.typing import Pair, Tensor

_BORDER = 0.01  # cells whose place or size is nearer to 0 or 1 start no query of their own


def cell_boxes(shapes: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """A box for every cell of maps of these sizes.

    Returns:
        (cx, cy, w, h) in 0..1 of the image, float32 ``[1,S,4]``, and bool ``[1,S,1]``, false where the cell
        is too near to the border.
    """
    levels = []
    for i, (height, width) in enumerate(shapes):
        y, x = ((tf.cast(tf.range(n), tf.float32) + 0.5) / tf.cast(n, tf.float32) for n in (height, width))
        center = tf.stack(tf.meshgrid(x, y), -1)  # [h, w, 2]
        boxes = tf.concat([center, tf.fill(tf.shape(center), 0.05 * 2.0**i)], -1)
        levels.append(tf.reshape(boxes, [height * width, 4]))
    boxes = tf.concat(levels, 0)[None]
    return boxes, tf.reduce_all((boxes > _BORDER) & (boxes < 1.0 - _BORDER), -1, keepdims=True)


def cell_anchors(shapes: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """As ``cell_boxes``, but logits of the boxes, the largest number where the cell is at the border."""
    boxes, inside = cell_boxes(shapes)
    boxes = tf.where(inside, boxes, 0.5)
    return tf.where(inside, tf.math.log(boxes / (1.0 - boxes)), tf.float32.max), inside


def best_cells(scores: Tensor, count: int) -> Tensor:
    """The ``count`` cells of the highest scores ``[B,S]``, all where there are fewer: int32 ``[B,count]``."""
    cells = scores.shape[1]
    found = min(count, cells) if cells else tf.minimum(count, tf.shape(scores)[1])
    return tf.math.top_k(scores, found).indices
