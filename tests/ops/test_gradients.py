"""Gradients against finite differences, in float32 with a tolerance for its rounding."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def away_from_whole(rng, *shape):
    """Offsets whose samples stay clear of whole pixels, where bilinear samples have a kink."""
    return rng.randint(-2, 2, shape) + rng.uniform(0.2, 0.8, shape)


def cases():
    rng = np.random.RandomState(0)
    boxes = tf.constant([[[0.3, 1.1, 9.2, 8.7], [2.0, 2.5, 5.1, 11.9]]], tf.float32)
    levels = tf.constant([[0, 1]])
    bins = tf.constant([[[0.7, 0.7, 8.7, 8.7], [2.9, 1.9, 10.9, 9.9]]])  # samples clear of whole pixels
    yield (
        "roi_align",
        lambda *f: ops.multilevel_roi_align(f, boxes, levels, 2, (1, 2)),
        [
            rng.randn(1, 9, 10, 2),
            rng.randn(1, 5, 5, 2),
        ],
    )
    yield (
        "deform_conv2d",
        lambda *t: ops.deform_conv2d(*t, padding=1, deform_groups=2),
        [
            rng.randn(1, 5, 6, 4),
            rng.randn(3, 3, 4, 3),
            away_from_whole(rng, 1, 5, 6, 36),
            rng.rand(1, 5, 6, 18),
        ],
    )
    yield (
        "ms_deform_attn",
        lambda v, p, w: ops.ms_deform_attn(v, [(3, 4), (2, 2)], p, w),
        [
            rng.randn(1, 16, 2, 3),
            rng.uniform(0.3, 0.36, (1, 3, 2, 2, 2, 2)),
            rng.rand(1, 3, 2, 2, 2),
        ],
    )
    yield (
        "deform_roi_pool",
        lambda f, o: ops.deform_roi_pool((f,), bins, [[0, 0]], o, 2, (1,), 2, gamma=0.3),
        [rng.randn(1, 13, 14, 2), rng.uniform(-0.02, 0.02, (1, 2, 2, 2, 2))],
    )
    yield (
        "carafe",
        lambda x, m: ops.carafe(x, m, kernel_size=3),
        [rng.randn(1, 3, 4, 2), rng.rand(1, 6, 8, 9)],
    )
    yield (
        "point_sample",
        lambda x, p: ops.point_sample(x, p),
        [rng.randn(1, 5, 6, 2), (rng.randint(0, 4, (1, 6, 2)) + rng.uniform(0.7, 1.3, (1, 6, 2))) / [6, 5]],
    )
    yield (
        "corner_pool",
        lambda x: ops.corner_pool(x, "top"),
        [rng.permutation(60).reshape(1, 5, 6, 2) / 10.0],
    )
    yield (
        "masked_conv2d",
        lambda x, k, b: ops.masked_conv2d(x, [[[1, 0, 1], [1, 1, 0], [0, 1, 1]]], k, b, strides=2, padding=1),
        [rng.randn(1, 5, 6, 3), rng.randn(3, 3, 3, 4), rng.randn(4)],
    )
    yield (
        "batch_norm",
        lambda x, g, b: ops.batch_norm(x, g, b).y,
        [rng.randn(2, 3, 2, 3), rng.rand(3), rng.randn(3)],
    )
    yield (
        "batch_norm_counted",
        lambda x, g, b: ops.batch_norm(x, g, b, counted=[1.0, 0.0, 1.0, 1.0]).y,
        [rng.randn(4, 3, 2, 3), rng.rand(3), rng.randn(3)],
    )
    yield (
        "conv3x3",
        lambda x, k, b: ops.conv3x3(x, k, b, relu=False),
        [rng.randn(1, 5, 6, 16), rng.randn(3, 3, 16, 4), rng.randn(4)],
    )
    yield (
        "grouped_conv2d_narrow",
        lambda x, k: ops.grouped_conv2d(x, k, 2, 1, groups=2),
        [rng.randn(1, 5, 6, 8), rng.randn(3, 3, 4, 8)],
    )
    yield (
        "grouped_conv2d",
        lambda x, k: ops.grouped_conv2d(x, k, 1, 2, 2, groups=2),
        [
            rng.randn(1, 5, 6, 4),
            rng.randn(3, 3, 2, 4),
        ],
    )


@pytest.mark.parametrize("name,op,tensors", list(cases()), ids=[case[0] for case in cases()])
def test_against_finite_differences(form, name, op, tensors):
    tensors = [tf.constant(t, tf.float32) for t in tensors]
    weights = tf.constant(np.random.RandomState(1).randn(*op(*tensors).shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.reduce_sum(op(*tensors) * weights)
    gradients = tape.gradient(total, tensors)
    rng, step = np.random.RandomState(2), 2e-3
    for k, (tensor, gradient) in enumerate(zip(tensors, gradients, strict=True)):
        direction = tf.constant(np.sign(rng.randn(*tensor.shape)), tf.float32)

        def moved(sign, k=k, direction=direction):
            changed = [t + sign * step * direction if i == k else t for i, t in enumerate(tensors)]
            return tf.reduce_sum(tf.cast(op(*changed) * weights, tf.float64))

        expected = float(moved(1) - moved(-1)) / (2 * step)
        found = float(tf.reduce_sum(gradient * direction))
        assert abs(found - expected) <= 0.01 * abs(expected) + 0.05, f"{name}, argument {k}"
