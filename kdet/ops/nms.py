"""Greedy non-maximum suppression of a batch, per class or over all classes, with static shapes."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import at_least, check_shapes
from kdet.ops.boxes import candidates_only, iou_with
from kdet.ops.empty import is_empty
from kdet.ops.greedy import take_best
from kdet.ops.marks import marked
from kdet.typing import Tensor

_FAR = -1e6
# Moved coordinates below this are exact to a quarter of a pixel, less than lies between two classes.
_EXACT = 2.0**21


def nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    iou_threshold: float,
    max_output: int,
    score_threshold: float = float("-inf"),
    separate: str = "offset",
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Keeps the best boxes that do not overlap a better one.

    There are two ways to keep a class apart from the others. ``offset`` is the reference's: its boxes are
    moved by ``label * (m + 1)`` with ``m`` the largest coordinate of the image's candidates, and the IoU
    is taken of the moved boxes. In float32 this rounds differently from unmoved ones, and boxes with
    coordinates below -1 may meet those of another class. ``label`` is exact: only boxes of equal labels are
    compared, where they are.

    Args:
        boxes: ``[B,N,4]`` float32 xyxy; no +1. A box with a side of 0 or less overlaps none.
        scores: ``[B,N]``. Equal ones count by index. A box whose score is NaN, or of which a coordinate is
            NaN or infinite, is no candidate.
        labels: ``[B,N]`` int32, or None to let all boxes compete.
        iou_threshold: a box is dropped when its IoU with a kept one is greater than this.
        max_output: number of rows of the output.
        score_threshold: candidates have a strictly greater score.
        separate: ``offset`` or ``label``.

    Returns:
        ``(indices [B,max_output] int32, num [B] int32)``: the kept boxes by falling score, and how
        many they are. Indices past ``num`` are 0. No gradient.
    """
    if separate not in ("offset", "label"):
        raise ValueError(f"nms: separate is {separate!r}, but must be 'offset' or 'label'.")
    if not 0.0 <= iou_threshold <= 1.0:
        raise ValueError(f"nms: iou_threshold is {iou_threshold}, but must be from 0 to 1.")
    max_output = at_least("nms", "max_output", max_output, 0)
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    scores = tf.stop_gradient(tf.cast(scores, tf.float32))
    labels = None if labels is None else tf.cast(labels, tf.int32)
    same = {} if labels is None else {"labels": (labels, "B N")}
    check_shapes("nms", None, boxes=(boxes, "B N 4"), scores=(scores, "B N"), **same)
    boxes, scores = candidates_only(boxes, scores, score_threshold)
    form = dispatch.choose("nms", implementation, portable=_portable, compiled_form=_compiled)
    if is_empty(scores) or max_output == 0:
        form = _empty
    indices, num = form(
        boxes,
        scores,
        labels,
        iou_threshold=float(iou_threshold),
        max_output=max_output,
        score_threshold=float(score_threshold),
        separate=separate,
    )
    return tf.ensure_shape(indices, [boxes.shape[0], max_output]), tf.ensure_shape(num, [boxes.shape[0]])


def separate_classes(boxes: Tensor, labels: Tensor | None, candidates: Tensor) -> Tensor:
    """Moves every class of boxes ``[B,N,4]`` to where it meets no other; identity without labels."""
    if labels is None:
        return boxes
    return boxes + tf.cast(labels, boxes.dtype)[..., None] * _class_step(boxes, candidates)


def _class_step(boxes: Tensor, candidates: Tensor) -> Tensor:
    """From a class to the next, ``[B,1,1]``: one more than the largest coordinate of the candidates."""
    reach = tf.reduce_max(tf.where(candidates[..., None], boxes, boxes.dtype.min), axis=[1, 2], keepdims=True)
    return tf.where(tf.reduce_any(candidates, axis=1)[:, None, None], reach, 0.0) + 1.0


def _empty(boxes: Tensor, scores: Tensor, labels: Tensor, max_output: int, **_: Any) -> tuple[Tensor, Tensor]:
    batch = tf.shape(scores)[0]
    return tf.zeros([batch, max_output], tf.int32), tf.zeros([batch], tf.int32)


def _compiled(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    max_output: int,
    score_threshold: float,
    separate: str,
) -> Sequence[Tensor]:
    kernel = compiled.library().kdet_nms
    if labels is None:
        labels = tf.zeros_like(scores, tf.int32)
    elif separate == "offset" and compiled.has_gpu_kernels():
        boxes, labels = _moved(boxes, labels, scores > float("-inf"))
    elif separate == "offset":
        kernel = compiled.library().kdet_class_nms
    return kernel(
        boxes=boxes,
        scores=scores,
        labels=labels,
        max_output=max_output,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )


def _moved(boxes: Tensor, labels: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes that are moved apart, and labels: one where boxes of different classes may meet all the same."""
    step = _class_step(boxes, candidates)
    moved = boxes + tf.cast(labels, tf.float32)[..., None] * step
    furthest = (tf.cast(tf.reduce_max(tf.abs(labels), axis=1), tf.float32) + 1.0) * step[:, 0, 0]
    apart = (tf.reduce_min(boxes, axis=[1, 2]) >= 0.0) & (furthest < _EXACT)
    return moved, tf.where(apart[:, None], labels, 0)


tf.no_gradient("KdetNms")
tf.no_gradient("KdetClassNms")


def _portable(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    max_output: int,
    score_threshold: float,
    separate: str,
) -> tuple[Tensor, Tensor]:
    if labels is not None and separate == "label":
        return _by_label(boxes, scores, labels, iou_threshold, max_output)
    boxes = separate_classes(boxes, labels, scores > float("-inf"))
    order = None
    if dispatch.under_xla() or dispatch.on_gpu():
        boxes, scores, order = _ranked(boxes, scores, max_output)
        score_threshold = 0.0
    indices, num = _suppressed(
        _with_area(boxes),
        scores,
        max_output=max_output,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )
    real = tf.range(max_output) < num[:, None]  # XLA pads with anything
    if order is not None:
        indices = tf.gather(order, tf.where(real, indices, 0), batch_dims=1)
    return tf.where(real, indices, 0), num


@marked("nms")
def _suppressed(
    boxes: Tensor, scores: Tensor, *, max_output: int, iou_threshold: float, score_threshold: float
) -> tuple[Tensor, Tensor]:
    """TensorFlow's kernel for every image: boxes ``[B,N,4]`` with area -> ``([B,max_output], [B])``."""

    def one_image(arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
        picked = tf.raw_ops.NonMaxSuppressionV4(
            boxes=arguments[0],
            scores=arguments[1],
            max_output_size=max_output,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            pad_to_max_output_size=True,
        )
        return tuple(picked)

    spec = (tf.TensorSpec([max_output], tf.int32), tf.TensorSpec([], tf.int32))
    return tf.map_fn(one_image, (boxes, scores), fn_output_signature=spec)


def _ranked(boxes: Tensor, scores: Tensor, max_output: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the kernels of XLA and of GPUs need: as many boxes as outputs at least, no scores equal or NaN.

    Returns:
        Boxes and ranks by falling score, the best rank the largest and 0 for no candidate; and the rows that
        they came from.
    """
    count = tf.maximum(tf.shape(scores)[1], max_output)
    missing = [0, count - tf.shape(scores)[1]]
    scores = tf.pad(scores, [[0, 0], missing], constant_values=float("-inf"))
    boxes = tf.pad(boxes, [[0, 0], missing, [0, 0]])
    scores, order = tf.math.top_k(scores, count)  # equal ones by index
    ranks = tf.where(scores > float("-inf"), tf.range(count, 0, -1), 0)
    return tf.gather(boxes, order, batch_dims=1), tf.cast(ranks, tf.float32), order


def _by_label(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    def drop_rivals(live: Tensor, best: Tensor) -> Tensor:
        overlap = iou_with(tf.gather(boxes, best, batch_dims=1)[:, None], boxes)
        rivals = labels == tf.gather(labels, best, batch_dims=1)[:, None]
        return tf.where(rivals & (overlap > iou_threshold), float("-inf"), live)

    indices, _, num = take_best(scores, max_output, drop_rivals)
    return indices, num


def _with_area(boxes: Tensor) -> Tensor:
    """Boxes ``[B,N,4]`` of which those without area, which meet no other, are squares far off.

    TensorFlow's kernel turns inverted boxes round. TFLite's chooses a box that does not overlap itself for
    ever.
    """
    column = 2.0 * tf.range(tf.shape(boxes)[1], dtype=tf.float32)
    row = tf.fill(tf.shape(column), _FAR)
    squares = tf.stack([column, row, column + 1.0, row + 1.0], -1)  # [N, 4]
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return tf.where((sides[..., :1] * sides[..., 1:]) == 0.0, squares, boxes)
