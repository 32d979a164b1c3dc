"""Fast NMS of YOLACT (Bolya et al. 2019): suppression in one matrix step."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes, known_size
from kdet.ops.boxes import candidates_only, iou_with
from kdet.typing import Tensor


def fast_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float,
    top_k: int,
    max_output: int,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per class, drops every box that overlaps any better one, kept or not.

    Args:
        boxes: ``[B,N,4]`` float32 xyxy, shared by all classes.
        scores: ``[B,N,C]``, without background.
        iou_threshold: a box is kept when its largest IoU with a better one is at most this.
        score_threshold: kept boxes have a strictly greater score.
        top_k: candidates per class.
        max_output: rows of the output.

    Returns:
        ``(indices [B,max_output] int32 into N, labels [B,max_output] int32, scores
        [B,max_output], num [B] int32)`` by falling score; past ``num`` all are 0. No gradient.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    scores = tf.stop_gradient(tf.cast(scores, tf.float32))
    top_k, max_output = (
        at_least("fast_nms", "top_k", top_k, 0),
        at_least("fast_nms", "max_output", max_output, 0),
    )
    check_shapes("fast_nms", boxes=(boxes, "B N 4"), scores=(scores, "B N C"))
    boxes, scores = candidates_only(boxes, scores, score_threshold)
    form = dispatch.choose("fast_nms", implementation, portable=_portable, compiled_form=_compiled)
    indices, labels, kept, num = form(
        boxes,
        scores,
        iou_threshold=float(iou_threshold),
        score_threshold=float(score_threshold),
        top_k=top_k,
        max_output=max_output,
    )
    rows = [boxes.shape[0], max_output]
    indices, labels, kept = (tf.ensure_shape(value, rows) for value in (indices, labels, kept))
    return indices, labels, kept, tf.ensure_shape(num, rows[:1])


def _compiled(boxes: Tensor, scores: Tensor, **attributes: Any) -> Sequence[Tensor]:
    return compiled.library().kdet_fast_nms(boxes=boxes, scores=scores, **attributes)


tf.no_gradient("KdetFastNms")


def _portable(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, top_k: int, max_output: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    classes = known_size("fast_nms", "scores", scores, -1)
    top_k = tf.minimum(top_k, tf.shape(scores)[1]) if scores.shape[1] is None else min(top_k, scores.shape[1])
    best, index = tf.math.top_k(tf.linalg.matrix_transpose(scores), top_k)  # [B,C,K]
    candidates = tf.gather(boxes, index, batch_dims=1)  # [B,C,K,4]
    # Rows are sorted, so the better ones of column k are the rows above the diagonal.
    above = tf.range(top_k)[:, None] < tf.range(top_k)
    overlap = iou_with(candidates[:, :, :, None], candidates[:, :, None, :], epsilon=1e-6)
    overlap = tf.where(above, overlap, 0.0)
    keep = (tf.reduce_max(overlap, axis=2) <= iou_threshold) & (best > score_threshold)

    def flat(values: Tensor, filler: float) -> Tensor:
        """``[B,C,K]`` -> ``[B,C*K+max_output]``, so that there are always enough to choose from."""
        rows = tf.reshape(values, [tf.shape(boxes)[0], classes * top_k])
        return tf.pad(rows, [[0, 0], [0, max_output]], constant_values=filler)

    kept, position = tf.math.top_k(flat(tf.where(keep, best, float("-inf")), float("-inf")), max_output)
    real = kept > float("-inf")
    position = tf.where(real, position, 0)
    labels = tf.where(real, position // tf.maximum(top_k, 1), 0)
    index = tf.gather(flat(index, 0), position, batch_dims=1)
    num = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
    return tf.where(real, index, 0), labels, tf.where(real, kept, 0.0), num
