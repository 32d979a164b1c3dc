"""Greedy non-maximum suppression of a batch, per class or over all classes, with static shapes."""

import tensorflow as tf

from kdet.ops import compiled, dispatch

_FAR = -1e6


def nms(
    boxes,
    scores,
    labels=None,
    *,
    iou_threshold,
    max_output,
    score_threshold=float("-inf"),
    implementation=None,
):
    """Keeps the best boxes that do not overlap a better one.

    A class is kept apart from the others as the reference does: its boxes are moved by
    ``label * (m + 1)`` with ``m`` the largest coordinate of the picture's candidates, and the IoU
    is taken of the moved boxes (in float32 this rounds differently from unmoved ones).

    Args:
        boxes: ``[B,N,4]`` float32 xyxy; no +1.
        scores: ``[B,N]``.
        labels: ``[B,N]`` int32, or None to let all boxes compete.
        iou_threshold: a box is dropped when its IoU with a kept one is greater than this.
        max_output: number of rows of the output.
        score_threshold: candidates have a strictly greater score.

    Returns:
        ``(indices [B,max_output] int32, num [B] int32)``: the kept boxes by falling score, and how
        many they are. Indices past ``num`` are 0. No gradient.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    scores = tf.stop_gradient(tf.cast(scores, tf.float32))
    boxes = separate_classes(boxes, labels, scores > score_threshold)
    form = dispatch.choose("nms", implementation, portable=_portable, compiled_form=_compiled)
    indices, num = form(
        boxes,
        scores,
        labels,
        iou_threshold=float(iou_threshold),
        max_output=int(max_output),
        score_threshold=float(score_threshold),
    )
    return tf.ensure_shape(indices, [boxes.shape[0], int(max_output)]), tf.ensure_shape(num, [boxes.shape[0]])


def separate_classes(boxes, labels, candidates):
    """Moves every class of boxes ``[B,N,4]`` to where it meets no other; identity without labels."""
    if labels is None:
        return boxes
    reach = tf.reduce_max(tf.where(candidates[..., None], boxes, boxes.dtype.min), axis=[1, 2], keepdims=True)
    reach = tf.where(tf.reduce_any(candidates, axis=1)[:, None, None], reach, 0.0)
    return boxes + tf.cast(labels, boxes.dtype)[..., None] * (reach + 1.0)


def _compiled(boxes, scores, labels, iou_threshold, max_output, score_threshold):
    # Boxes of different labels lie apart already; the labels save the comparison.
    labels = tf.zeros(tf.shape(scores), tf.int32) if labels is None else tf.cast(labels, tf.int32)
    return compiled.library().kdet_nms(
        boxes=boxes,
        scores=scores,
        labels=labels,
        max_output=max_output,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )


tf.no_gradient("KdetNms")


def _with_area(boxes):
    """Boxes ``[B,N,4]`` of which those without area, which meet no other, are squares far off.

    TensorFlow does not mind them, but TFLite's kernel chooses a box that does not overlap itself for ever.
    """
    column = 2.0 * tf.range(tf.shape(boxes)[1], dtype=tf.float32)
    row = tf.fill(tf.shape(column), _FAR)
    squares = tf.stack([column, row, column + 1.0, row + 1.0], -1)  # [N, 4]
    sides = boxes[..., 2:] - boxes[..., :2]
    return tf.where((sides[..., :1] * sides[..., 1:]) == 0.0, squares, boxes)


def _portable(boxes, scores, labels, iou_threshold, max_output, score_threshold):
    def one_picture(candidates):
        picked = tf.raw_ops.NonMaxSuppressionV4(
            boxes=candidates[0],
            scores=candidates[1],
            max_output_size=max_output,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            pad_to_max_output_size=True,
        )
        return tuple(picked)

    spec = (tf.TensorSpec([max_output], tf.int32), tf.TensorSpec([], tf.int32))
    indices, num = tf.map_fn(one_picture, (_with_area(boxes), scores), fn_output_signature=spec)
    return tf.where(tf.range(max_output) < num[:, None], indices, 0), num  # XLA pads with anything
