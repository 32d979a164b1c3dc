"""Coders by hand: buckets, cells, limits."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from kdet import coders, postprocess, priors, samplers


def test_sides_among_buckets():
    coder = coders.BucketingCoder(num_buckets=14, scale=2.0)
    # 14 pixels become 28 from -7 on; buckets' centers are -6, -4 ... from the left, 20, 18 ... from the right
    prior, box = tf.constant([[0.0, 0, 14, 14]]), tf.constant([[-3.5, 1.0, 17.0, 12.0]])
    buckets, weights, offsets, offset_weights = (x.numpy()[0] for x in coder.encode(prior, box))
    # left -3.5 is next to -4, right 17 between 18 and 16, top 1 between 0 and 2, bottom 12 hits a center
    assert buckets.argmax(-1).tolist() == [1, 1, 3, 4]
    np.testing.assert_allclose(offsets[0], np.arange(7) - 1.25)
    np.testing.assert_allclose(offsets[1], 1.5 - np.arange(7))
    assert [np.flatnonzero(row == 0).tolist() for row in weights] == [[2], [2], [4], []]
    # a second bucket learns an offset where it is less than one away
    assert [np.flatnonzero(row).tolist() for row in offset_weights] == [[1, 2], [1, 2], [3, 4], [4]]
    flat = [tf.constant(x.reshape(1, 28)) for x in (buckets, offsets)]
    np.testing.assert_allclose(coder.decode(prior, *flat), box, atol=1e-5)
    size = tf.constant([[12.0, 15.0]])
    np.testing.assert_allclose(coder.decode(prior, *flat, size), [[0.0, 1.0, 14.0, 11.0]], atol=1e-5)
    free = coders.BucketingCoder(num_buckets=14, scale=2.0, clip_border=False)
    np.testing.assert_allclose(free.decode(prior, *flat, size), box, atol=1e-5)


def test_sides_are_sure_of_a_bucket_and_its_neighbor():
    beside, apart = [0.1, 0.5, 0.3, 0.05, 0.05], [0.5, 0.1, 0.3, 0.05, 0.05]
    coder = coders.BucketingCoder(num_buckets=9)  # five per side, the middle one belongs to both
    logits = np.log([[beside, beside, beside, apart]]).reshape(1, 20)
    np.testing.assert_allclose(
        coder.confidence(tf.constant(logits, tf.float32)), [(3 * 0.8 + 0.5) / 4], rtol=1e-5
    )


def test_centers_and_sides_in_cells():
    coder, prior = coders.YOLOCoder(), tf.constant([[4.0, 4, 12, 12]] * 2)
    boxes = tf.constant([[7.0, 2, 11, 10], [20.0, 8, 20, 16]])
    got = coder.encode(prior, boxes, tf.constant([[8.0], [8.0]])).numpy()
    np.testing.assert_allclose(got[0], [0.5 + 1 / 8, 0.5 - 2 / 8, np.log(0.5), 0.0], atol=1e-6)
    # beyond the cell and without a width: the nearest that has a logarithm
    np.testing.assert_allclose(got[1], [1 - 1e-6, 1 - 1e-6, np.log(1e-6), 0.0], rtol=1e-6, atol=1e-6)


def test_a_limited_shift_leaves_small_sides_alone():
    coder = coders.DeltaXYWHCoder(means=(0.5, 0, 0, 0), stds=(2.0, 1, 1, 1), center_clamp=3, side_ratio=0.5)
    deltas = tf.constant([[[0.25, -1.0, 9.0, -9.0], [0.0, 0.1, 0.0, 0.0]]])
    got = coder.decode(tf.constant([[0.0, 0, 10, 10]]), deltas).numpy()[0]
    # ten and minus ten pixels become three; the width doubles at most, the height shrinks freely
    height = 10 * np.exp(-9.0)
    np.testing.assert_allclose(got[0], [-2, 2 - height / 2, 18, 2 + height / 2], rtol=1e-5)
    np.testing.assert_allclose(
        got[1], [3, 1, 13, 11], rtol=1e-6
    )  # the mean alone is five pixels, cut to three
    both = coders.DeltaXYWHCoder(side_ratio=0.5).decode(tf.constant([[0.0, 0, 10, 10]]), deltas).numpy()[0, 0]
    np.testing.assert_allclose(both[2:] - both[:2], [20, 5], rtol=1e-6)


@pytest.mark.parametrize(
    ("component", "defaults"),
    [
        (coders.BucketingCoder, {"num_buckets": 14, "scale": 1.7, "num_offsets": 2, "clip_border": True}),
        (coders.DeltaXYWHCoder, {"means": (0.0,) * 4, "stds": (1.0,) * 4, "side_ratio": 16 / 1000}),
        (coders.TBLRCoder, {"normalizer": 4.0}),
        (priors.AnchorGenerator, {"ratios": (0.5, 1.0, 2.0), "center_offset": 0.0, "scale_major": True}),
        (priors.PointGenerator, {"offset": 0.5}),
        (postprocess.PostProcess, {"score_threshold": 0.05, "max_per_image": 100, "nms_pre": 1000}),
        (
            postprocess.ProposalSelection,
            {"nms_pre": 1000, "max_per_image": 1000, "iou_threshold": 0.7, "min_size": 0},
        ),
        (postprocess.NMS, {"iou_threshold": 0.5}),
        (postprocess.SoftNMS, {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 1e-3, "method": "linear"}),
        (postprocess.FastNMS, {"iou_threshold": 0.5, "top_k": 200}),
        (postprocess.TopQueries, {"max_per_image": 100, "one_label": False}),
        (samplers.RandomSampler, {"neg_pos_ub": -1, "add_gt_as_proposals": True}),
        (samplers.BalancedSampler, {"neg_pos_ub": -1, "add_gt_as_proposals": True, "num_bins": 3}),
        (
            samplers.ScoreHLRSampler,
            {"neg_pos_ub": -1, "power": 0.5, "bias": 0.0, "score_threshold": 0.05, "iou_threshold": 0.5},
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_defaults_are_the_references(component, defaults):
    """Recipes of published models leave these out."""
    parameters = inspect.signature(component.__init__).parameters
    assert {name: parameters[name].default for name in defaults} == defaults
