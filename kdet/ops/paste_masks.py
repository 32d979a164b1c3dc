"""Masks in the frame of their box, pasted into the image."""

import numpy as np
import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_image, check_shapes, known_size
from kdet.typing import Array, Tensor


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float | None = None,
    implementation: str | None = None,
) -> Tensor:
    """Resamples mask probabilities over a whole image.

    The pixel center ``(x + 0.5, y + 0.5)`` takes the bilinear value of its place in the box;
    outside the mask's pixels the value is 0. Boxes of no area (padding) give an empty mask, and so do those
    of which a coordinate is NaN or infinite.

    Args:
        masks: ``[B,N,m,m]`` probabilities of any dtype, bool too.
        boxes: ``[B,N,4]`` float32 xyxy in the image's pixels.
        height, width: the image's size.
        threshold: None for probabilities, otherwise True where the probability is at least this.

    Returns:
        ``[B,N,height,width]`` float32, or bool with a threshold. No gradient.
    """
    masks = tf.stop_gradient(tf.convert_to_tensor(masks))
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    check_shapes("paste_masks", masks=(masks, "B N mh mw"), boxes=(boxes, "B N 4"))
    check_image("paste_masks", height, width)
    boxes = tf.where(tf.reduce_all(tf.math.is_finite(boxes), -1, keepdims=True), boxes, 0.0)
    form = dispatch.choose(
        "paste_masks", implementation, portable=_portable, compiled_form=_compiled, dtype=masks.dtype
    )
    return form(masks, boxes, height, width, threshold)


def _compiled(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float | None) -> Tensor:
    return compiled.library().kdet_paste_masks(
        masks=masks,
        boxes=boxes,
        size=tf.cast(tf.stack([height, width]), tf.int32),
        Out=tf.float32 if threshold is None else tf.bool,
        threshold=0.0 if threshold is None else float(threshold),
    )


tf.no_gradient("KdetPasteMasks")


# What stands for NaN (and with the other sign for infinity) in the products of the portable form, where it
# would be NaN times a weight of 0 too; and the size of a value that shows it.
_NAN, _SHOWN = -(2.0**120), 2.0**60


def _portable(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float | None) -> Tensor:
    floating = masks.dtype.is_floating
    masks = tf.cast(masks, tf.float32)
    if floating:
        masks = tf.clip_by_value(tf.where(tf.math.is_nan(masks), _NAN, masks), _NAN, -_NAN)

    def axis_weights(low: Tensor, high: Tensor, size: int, pixels: int) -> Tensor:
        center = tf.range(size, dtype=tf.float32) + 0.5
        extent = tf.maximum(high - low, 1e-6)[..., None]
        place = (center - low[..., None]) / extent * pixels - 0.5  # [B,N,size]
        cells = tf.range(pixels, dtype=tf.float32)
        weights = tf.maximum(1.0 - tf.abs(place[..., None] - cells), 0.0)
        return tf.where((high > low)[..., None, None], weights, 0.0)  # [B,N,size,m]

    cells = [known_size("paste_masks", "masks", masks, axis) for axis in (-2, -1)]
    rows = axis_weights(boxes[..., 1], boxes[..., 3], height, cells[0])
    columns = axis_weights(boxes[..., 0], boxes[..., 2], width, cells[1])
    pasted = tf.matmul(tf.matmul(rows, masks), columns, transpose_b=True)
    if threshold is not None:
        return pasted >= threshold
    return tf.where(tf.abs(pasted) < _SHOWN, pasted, float("nan")) if floating else pasted


def paste_masks_numpy(masks: Array, boxes: Array, height: int, width: int, threshold: float = 0.5) -> Array:
    """The same for one image in NumPy, computing only the pixels around each box.

    Args:
        masks: ``[N,m,m]`` probabilities; boxes: ``[N,4]`` xyxy in the image's pixels.

    Returns:
        ``[N,height,width]`` bool, True where the probability is at least ``threshold``.
    """
    if not 0 < threshold:
        raise ValueError(f"paste_masks_numpy needs a threshold above 0, not {threshold}.")
    masks, boxes = np.asarray(masks, np.float32), np.asarray(boxes, np.float32)
    pasted = np.zeros((len(masks), height, width), bool)
    for mask, (x1, y1, x2, y2), canvas in zip(masks, boxes, pasted, strict=True):
        if not (x2 > x1 and y2 > y1):
            continue
        top, rows = _region_weights(y1, y2, height, mask.shape[0])
        left, columns = _region_weights(x1, x2, width, mask.shape[1])
        region = rows @ mask @ columns.T >= threshold
        canvas[top : top + region.shape[0], left : left + region.shape[1]] = region
    return pasted


def _region_weights(low: float, high: float, size: int, pixels: int) -> tuple[int, Array]:
    """First pixel of the box's surroundings along one axis, and ``[extent, pixels]`` weights."""
    start = int(np.clip(np.floor(low) - 1, 0, size))
    end = int(np.clip(np.ceil(high) + 1, start, size))
    place = (np.arange(start, end, dtype=np.float32) + 0.5 - low) / (high - low) * pixels - 0.5
    return start, np.maximum(1 - np.abs(place[:, None] - np.arange(pixels, dtype=np.float32)), 0)
