"""Soft-NMS (Bodla et al. 2017): overlapping boxes lose score instead of being dropped."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes
from kdet.ops.boxes import candidates_only, iou_with
from kdet.ops.empty import is_empty
from kdet.ops.greedy import take_best
from kdet.ops.nms import separate_classes
from kdet.typing import Tensor


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    max_output: int,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    score_threshold: float = float("-inf"),
    implementation: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Takes the best box again and again, lowering the scores of those that overlap it.

    Args:
        boxes: ``[B,N,4]`` xyxy.
        scores: ``[B,N]``.
        labels: ``[B,N]`` int32; boxes of different labels do not affect each other. None: all do.
        max_output: static number of outputs.
        iou_threshold: for ``linear``, overlaps from here on multiply the score by ``1 - IoU``.
        sigma: for ``gaussian``, every overlap multiplies the score by ``exp(-IoU**2 / sigma)``.
        min_score: a box whose score falls below this is dropped. The best box of all stays.
        method: ``linear`` or ``gaussian``.
        score_threshold: boxes with this score or less are left out from the start.
        implementation: ``portable`` or ``compiled``; None: see `kdet.ops.use`.

    Returns:
        ``(indices [B,max_output] int32, scores [B,max_output] float32, num [B] int32)`` in the
        order taken; past ``num`` indices and scores are 0. No gradient.
    """
    if method not in ("linear", "gaussian"):
        raise ValueError(f"soft_nms knows the methods 'linear' and 'gaussian', not {method!r}.")
    max_output = at_least("soft_nms", "max_output", max_output, 0)
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    scores = tf.stop_gradient(tf.cast(scores, tf.float32))
    same = {} if labels is None else {"labels": (tf.convert_to_tensor(labels), "B N")}
    check_shapes("soft_nms", None, boxes=(boxes, "B N 4"), scores=(scores, "B N"), **same)
    boxes, scores = candidates_only(boxes, scores, score_threshold)
    boxes = separate_classes(boxes, labels, scores > float("-inf"))
    form = dispatch.choose("soft_nms", implementation, portable=_portable, compiled_form=_compiled)
    indices, kept, num = form(
        boxes,
        scores,
        max_output=max_output,
        iou_threshold=float(iou_threshold),
        sigma=float(sigma),
        min_score=float(min_score),
        method=method,
    )
    batch = boxes.shape[0]
    indices = tf.ensure_shape(indices, [batch, max_output])
    return indices, tf.ensure_shape(kept, [batch, max_output]), tf.ensure_shape(num, [batch])


def _compiled(
    boxes: Tensor,
    scores: Tensor,
    max_output: int,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
) -> Sequence[Tensor]:
    return compiled.library().kdet_soft_nms(
        boxes=boxes,
        scores=scores,
        max_output=max_output,
        iou_threshold=iou_threshold,
        sigma=sigma,
        min_score=min_score,
        gaussian=method == "gaussian",
    )


tf.no_gradient("KdetSoftNms")


def _portable(
    boxes: Tensor,
    scores: Tensor,
    max_output: int,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
) -> tuple[Tensor, Tensor, Tensor]:
    if is_empty(scores):
        empty = tf.zeros([tf.shape(boxes)[0], max_output])
        return tf.cast(empty, tf.int32), empty, tf.zeros([tf.shape(boxes)[0]], tf.int32)

    def lower(live: Tensor, best: Tensor) -> Tensor:
        overlap = iou_with(tf.gather(boxes, best, batch_dims=1)[:, None], boxes)  # [B,N]
        if method == "linear":
            factor = tf.where(overlap >= iou_threshold, 1.0 - overlap, 1.0)
        else:
            factor = tf.exp(-tf.square(overlap) / sigma)
        # Dropped boxes have -inf, which a factor of 0 would turn into NaN.
        live = tf.where(tf.math.is_finite(live), live * factor, live)
        return tf.where(live < min_score, float("-inf"), live)

    return take_best(scores, max_output, lower)
