"""Soft-NMS (Bodla et al. 2017): overlapping boxes lose score instead of being dropped."""

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.boxes import iou_with
from kdet.ops.nms import separate_classes


def soft_nms(
    boxes,
    scores,
    labels=None,
    *,
    max_output,
    iou_threshold=0.3,
    sigma=0.5,
    min_score=1e-3,
    method="linear",
    score_threshold=float("-inf"),
    implementation=None,
):
    """Takes the best box again and again, lowering the scores of those that overlap it.

    Args:
        boxes, scores, labels, max_output, score_threshold: as in `kdet.ops.nms`.
        iou_threshold: for ``linear``, overlaps from here on multiply the score by ``1 - IoU``.
        sigma: for ``gaussian``, every overlap multiplies the score by ``exp(-IoU**2 / sigma)``.
        min_score: a box whose score falls below this is dropped. The best box of all stays.
        method: ``linear`` or ``gaussian``.

    Returns:
        ``(indices [B,max_output] int32, scores [B,max_output] float32, num [B] int32)`` in the
        order taken; past ``num`` indices and scores are 0. No gradient.
    """
    if method not in ("linear", "gaussian"):
        raise ValueError(f"soft_nms knows the methods 'linear' and 'gaussian', not {method!r}.")
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    scores = tf.stop_gradient(tf.cast(scores, tf.float32))
    candidates = scores > score_threshold
    boxes = separate_classes(boxes, labels, candidates)
    scores = tf.where(candidates, scores, float("-inf"))
    form = dispatch.choose("soft_nms", implementation, portable=_portable, compiled_form=_compiled)
    indices, kept, num = form(
        boxes,
        scores,
        max_output=int(max_output),
        iou_threshold=float(iou_threshold),
        sigma=float(sigma),
        min_score=float(min_score),
        method=method,
    )
    batch = boxes.shape[0]
    indices = tf.ensure_shape(indices, [batch, int(max_output)])
    return indices, tf.ensure_shape(kept, [batch, int(max_output)]), tf.ensure_shape(num, [batch])


def _compiled(boxes, scores, max_output, iou_threshold, sigma, min_score, method):
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


def _portable(boxes, scores, max_output, iou_threshold, sigma, min_score, method):
    if boxes.shape[1] == 0:
        empty = tf.zeros([tf.shape(boxes)[0], max_output])
        return tf.cast(empty, tf.int32), empty, tf.zeros([tf.shape(boxes)[0]], tf.int32)
    slots = tf.range(tf.shape(boxes)[1])[None, :]

    def take(step, live, indices, kept):
        best = tf.argmax(live, axis=1, output_type=tf.int32)
        score = tf.gather(live, best, batch_dims=1)
        overlap = iou_with(tf.gather(boxes, best, batch_dims=1)[:, None], boxes)  # [B,N]
        if method == "linear":
            factor = tf.where(overlap >= iou_threshold, 1.0 - overlap, 1.0)
        else:
            factor = tf.exp(-tf.square(overlap) / sigma)
        # Dropped boxes have -inf, which a factor of 0 would turn into NaN.
        live = tf.where(tf.math.is_finite(live), live * factor, live)
        live = tf.where((live < min_score) | (slots == best[:, None]), float("-inf"), live)
        real = score > float("-inf")
        at = tf.one_hot(step, max_output, on_value=True, off_value=False) & real[:, None]
        indices = tf.where(at, best[:, None], indices)
        return step + 1, live, indices, tf.where(at, score[:, None], kept)

    def unfinished(step, live, *_):
        return (step < max_output) & tf.reduce_any(live > float("-inf"))

    blank = tf.zeros([tf.shape(boxes)[0], max_output])
    start = (0, scores, tf.cast(blank, tf.int32), tf.fill(tf.shape(blank), float("-inf")))
    _, _, indices, kept = tf.while_loop(unfinished, take, start)
    real = kept > float("-inf")
    return indices, tf.where(real, kept, 0.0), tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
