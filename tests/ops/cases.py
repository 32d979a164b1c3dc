"""One call of every op, for the tests that all ops must pass."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kdet import ops

# of results, by the type that an op computes in, relative to the largest number
TOLERANCE = {tf.float32: 1e-4, tf.float16: 1e-2, tf.bfloat16: 8e-2}
RNG = np.random.RandomState(0)
# ordinary, empty, inverted, far larger than any map, off the map, below a pixel, at the border
BOXES = np.array(
    [
        [[2, 3, 17, 14], [5, 5, 5, 5], [9, 9, 3, 3], [-1e7, -1e7, 1e7, 1e7], [900, 900, 950, 970]],
        [[4.2, 4.1, 4.4, 4.6], [-3, -2, 9, 30], [0, 0, 20, 16], [1, 0, 12.5, 9], [0, 0, 0, 0]],
    ],
    np.float32,
)
LEVELS = np.array([[0, 1, 0, 1, 0], [1, 0, 0, 1, 1]], np.int32)
POLYGONS = [
    [[3.1, 2.7, 17.5, 4.3, 12.9, 13.1], [1.5, 1.5, 4.5, 1.5, 4.5, 9.5, 1.5, 9.5]],
    [],
    [[-5.3, 6.1, 25.7, -3.3, 11.1, 30.9]],
]


@dataclasses.dataclass
class Case:
    """An op as a function of float tensors (and of others that it closes over)."""

    call: Callable
    tensors: list  # arrays; those named in `batched` have the batch first
    differentiable: bool = True
    half: bool = True  # float16 and bfloat16 too, for the tensors in `rounded`
    rounded: tuple = (0,)  # tensors that carry the op's dtype; the others stay float32
    batched: tuple = (0,)  # tensors with the batch first; () where the op has none
    xla: bool = True
    positions: tuple = ()  # tensors that say where: boxes, offsets, points


def randn(*shape):
    return RNG.randn(*shape).astype(np.float32)


def rand(*shape):
    return RNG.rand(*shape).astype(np.float32)


def first(values, batch):
    """As many rows of ``values`` as ``batch`` has, and columns where both have these."""
    if np.ndim(values) == 2:
        return tf.constant(values)[: tf.shape(batch)[0], : tf.shape(batch)[1]]
    return tf.constant(values)[: tf.shape(batch)[0]]


CANDIDATES = np.concatenate([rand(2, 40, 2) * 50, rand(2, 40, 2) * 40], -1)
CANDIDATES[..., 2:] += CANDIDATES[..., :2]
CANDIDATES[0, :5] = BOXES[0] / np.array([1, 1, 1, 1e3, 1])[:, None]
PACKED = RNG.randint(0, 256, (2, 3, 16, 3)).astype(np.uint8)
MARKED = RNG.rand(2, 4, 5) > 0.6

CASES = {
    "roi_align": Case(
        lambda a, b, boxes: ops.multilevel_roi_align((a, b), boxes, first(LEVELS, boxes), (3, 2), (2, 4)),
        [randn(2, 8, 10, 5), randn(2, 4, 5, 5), BOXES],
        rounded=(0, 1),
        batched=(0, 1, 2),
        positions=(2,),
    ),
    "roi_align_legacy": Case(
        lambda a, boxes: ops.roi_align(a, boxes, 2, 0.5, sampling_ratio=2, aligned=False),
        [randn(2, 8, 10, 5), BOXES],
        batched=(0, 1),
        positions=(1,),
    ),
    "deform_roi_pool": Case(
        lambda a, boxes, o: ops.deform_roi_pool(
            (a,), boxes, tf.zeros_like(boxes[..., 0], tf.int32), o, 2, (2,)
        ),
        [randn(2, 8, 10, 5), np.minimum(BOXES, 1e3), randn(2, 5, 2, 2, 2)],
        batched=(0, 1, 2),
        positions=(1, 2),
    ),
    "deform_conv2d": Case(
        lambda x, k, o, m: ops.deform_conv2d(x, k, o, m, padding=1, strides=2, groups=2, deform_groups=2),
        [randn(2, 7, 9, 8), randn(3, 3, 4, 6), randn(2, 4, 5, 36) * 2, rand(2, 4, 5, 18)],
        rounded=(0, 1),
        batched=(0, 2, 3),
        positions=(2,),
    ),
    "ms_deform_attn": Case(
        lambda v, where, w: ops.ms_deform_attn(v, [(3, 4), (2, 2)], where, w),
        [randn(2, 16, 2, 3), rand(2, 5, 2, 2, 3, 2) * 1.4 - 0.2, rand(2, 5, 2, 2, 3)],
        batched=(0, 1, 2),
        positions=(1,),
    ),
    "point_sample": Case(
        lambda x, p: ops.point_sample(x, p),
        [randn(2, 5, 6, 3), rand(2, 7, 2) * 1.4 - 0.2],
        batched=(0, 1),
        positions=(1,),
    ),
    "carafe": Case(
        lambda x, m: ops.carafe(x, m, kernel_size=3, groups=2),
        [randn(2, 4, 5, 4), rand(2, 8, 10, 18)],
        rounded=(0, 1),
        batched=(0, 1),
    ),
    "corner_pool": Case(lambda x: ops.corner_pool(x, "left"), [randn(2, 4, 6, 3)]),
    "batch_norm": Case(
        lambda x, gamma, beta: ops.batch_norm(x, gamma, beta).y,
        [randn(2, 5, 6, 20), rand(20) + 0.5, randn(20)],
    ),
    "grouped_conv2d": Case(
        lambda x, k: ops.grouped_conv2d(x, k, 2, 1, groups=3),
        [randn(2, 7, 8, 12), randn(3, 3, 4, 12)],
        rounded=(0, 1),
    ),
    "masked_conv2d": Case(
        lambda x, k, b: ops.masked_conv2d(x, first(MARKED, x), k, b, strides=2, padding=1),
        [randn(2, 7, 9, 4), randn(3, 3, 4, 5), randn(5)],
        rounded=(0, 1, 2),
    ),
    "conv3x3": Case(
        lambda x, k, b: ops.conv3x3(x, k, b, relu=True),
        [randn(2, 6, 7, 16), randn(3, 3, 16, 32) / 12, randn(32)],
        half=False,
    ),
    "nms": Case(
        lambda boxes, scores: ops.nms(boxes, scores, iou_threshold=0.4, max_output=20, score_threshold=0.05),
        [CANDIDATES, rand(2, 40)],
        differentiable=False,
        half=False,
        batched=(0, 1),
        positions=(0,),
    ),
    "soft_nms": Case(
        lambda boxes, scores: ops.soft_nms(boxes, scores, max_output=20, min_score=0.1),
        [CANDIDATES, rand(2, 40)],
        differentiable=False,
        half=False,
        batched=(0, 1),
        positions=(0,),
    ),
    "fast_nms": Case(
        lambda boxes, scores: ops.fast_nms(
            boxes, scores, iou_threshold=0.4, score_threshold=0.3, top_k=15, max_output=30
        ),
        [CANDIDATES, rand(2, 40, 3)],
        differentiable=False,
        half=False,
        batched=(0, 1),
        positions=(0,),
    ),
    "paste_masks": Case(
        lambda masks, boxes: ops.paste_masks(masks, boxes, 16, 21),
        [rand(2, 5, 4, 6), BOXES],
        differentiable=False,
        batched=(0, 1),
        positions=(1,),
    ),
    "crop_masks": Case(
        lambda boxes: ops.crop_masks(first(PACKED, boxes), boxes, first(np.abs(LEVELS * 2 - 1), boxes), 4),
        [np.minimum(BOXES, 1e3)],
        differentiable=False,
        half=False,
        positions=(0,),
    ),
    "rasterize_polygons": Case(
        lambda shift: ops.rasterize_polygons(
            ops.polygons_of(POLYGONS) + tf.cast(shift, tf.float64), height=15, width=21
        ),
        [np.zeros((), np.float32)],
        differentiable=False,
        half=False,
        batched=(),
        xla=False,
    ),
}


def tensors_of(case, dtype=tf.float32):
    return [tf.cast(t, dtype if k in case.rounded else tf.float32) for k, t in enumerate(case.tensors)]


def outputs_and_gradients(case, tensors):
    """All outputs of an op and, where it has them, its gradients, as a flat list."""
    if not case.differentiable:
        return tf.nest.flatten(case.call(*tensors))
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        out = case.call(*tensors)
        weights = tf.reshape(tf.cos(tf.range(tf.size(out), dtype=tf.float32)), tf.shape(out))
        total = tf.reduce_sum(tf.cast(out, tf.float32) * weights)
    gradients = tape.gradient(total, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [out, *gradients]
