import numpy as np
import pytest
import tensorflow as tf

from kdet import ops

CASES = [(aligned, ratio) for aligned in (False, True) for ratio in (0, 2)]


def pooled_and_gradient(case, aligned, ratio, jit_compile=None, dtype=tf.float32):
    def run(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            out = ops.roi_align(features, case["boxes"], (7, 5), 0.25, ratio, aligned)
        return out, tape.gradient(out, features, tf.cast(case["upstream"], dtype))

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile)
    return run(tf.cast(case["features"], dtype))


@pytest.mark.parametrize("aligned,ratio", CASES)
def test_equals_the_reference(golden, form, aligned, ratio):
    case = golden("roi_align")
    out, gradient = pooled_and_gradient(case, aligned, ratio)
    key = f"{'aligned' if aligned else 'legacy'}_{ratio}"
    np.testing.assert_allclose(out, case[f"{key}_out"], atol=1e-5)
    np.testing.assert_allclose(gradient, case[f"{key}_grad"], atol=2e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_equal_eager(golden, portable, jit_compile):
    case = golden("roi_align")
    eager = pooled_and_gradient(case, True, 0)
    graph = pooled_and_gradient(case, True, 0, jit_compile)
    for a, b in zip(eager, graph, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype,tolerance", [(tf.float16, 5e-3), (tf.bfloat16, 4e-2)])
def test_half_precision_keeps_its_dtype(golden, form, dtype, tolerance):
    case = golden("roi_align")
    out, gradient = pooled_and_gradient(case, True, 0, dtype=dtype)
    assert out.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(tf.cast(out, tf.float32), case["aligned_0_out"], atol=tolerance)
    np.testing.assert_allclose(tf.cast(gradient, tf.float32), case["aligned_0_grad"], atol=8 * tolerance)


def test_by_hand(form):
    features = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
    # Pixel centers lie at half coordinates: this box's one sample is the middle of the map.
    out = ops.roi_align(features, [[[1.0, 1.0, 3.0, 3.0]]], 1, sampling_ratio=1)
    assert out.shape == (1, 1, 1, 1, 1) and float(tf.squeeze(out)) == 7.5


def test_levels_choose_their_map(form):
    rng = np.random.RandomState(0)
    maps = [rng.randn(2, 16 // s, 24 // s, 5).astype("f") for s in (1, 2, 4)]
    boxes = (rng.rand(2, 9, 4) * 40).astype("f")
    boxes[..., 2:] += boxes[..., :2]
    levels = rng.randint(0, 3, (2, 9)).astype("i4")
    together = ops.multilevel_roi_align(tuple(maps), boxes, levels, 3, (4, 8, 16))
    for level, (features, stride) in enumerate(zip(maps, (4, 8, 16), strict=True)):
        alone = ops.roi_align(features, boxes, 3, 1 / stride).numpy()
        np.testing.assert_allclose(together.numpy()[levels == level], alone[levels == level], atol=1e-6)


def test_no_boxes_and_odd_boxes(form):
    features = tf.ones([2, 8, 8, 4])
    assert ops.roi_align(features, tf.zeros([2, 0, 4]), 7).shape == (2, 0, 7, 7, 4)
    boxes = tf.constant([[[0, 0, 4, 4], [3, 3, 2, 2], [5, 5, 5, 5], [-1e6, -1e6, 1e6, 1e6]]], tf.float32)
    out = ops.roi_align(features[:1], boxes, 2).numpy()[0]
    assert (out[0] == 1).all() and (out[1:3] == 0).all() and np.isfinite(out[3]).all()


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("sizes", [[(4, 6), (0, 0)], [(0, 0), (4, 6)], [(0, 3), (4, 6)], [(0, 0), (2, 0)]])
def test_levels_without_pixels(form, sizes, ratio):
    maps = [tf.ones([2, *size, 3]) for size in sizes]
    boxes = tf.tile([[[0.0, 0.0, 8.0, 8.0], [2.0, 2.0, 6.0, 6.0]]], [2, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        out = ops.multilevel_roi_align(maps, boxes, [[0, 1], [1, 0]], 2, (2, 2), ratio)
    gradients = tape.gradient(out, maps, tf.ones_like(out))
    for k, (height, width) in enumerate(sizes):
        full = float(height * width > 0)
        assert (out.numpy()[[0, 1], [k, 1 - k]] == full).all()
        assert gradients[k].shape == maps[k].shape and tf.reduce_sum(gradients[k]) == full * 2 * 4 * 3


def test_one_pixel_and_a_level_without(form):
    boxes = tf.constant([[[0.0, 0.0, 2.0, 2.0]] * 2])
    out = ops.multilevel_roi_align((tf.ones([1, 1, 1, 3]), tf.ones([1, 0, 0, 3])), boxes, [[0, 1]], 2, (2, 2))
    assert (out[0, 0] == 1).numpy().all() and (out[0, 1] == 0).numpy().all()


def test_no_channels(form):
    out = ops.roi_align(tf.ones([2, 4, 6, 0]), tf.zeros([2, 3, 4]), 2)
    assert out.shape == (2, 3, 2, 2, 0)


def test_wrong_number_of_levels():
    with pytest.raises(ValueError, match="2 feature maps and 1 strides"):
        ops.multilevel_roi_align((tf.ones([1, 4, 4, 1]),) * 2, tf.zeros([1, 1, 4]), [[0]], 2, (4,))
