"""The ideas that second stages add to Faster and Mask R-CNN, one by one."""

import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.assigners import RegionAssigner
from kdet.coders import BucketingCoder, LegacyDeltaXYWHCoder
from kdet.contract import Assignment
from kdet.heads.roi import GridHead
from kdet.losses import classification_aware_box_loss, prime_sample_weights
from kdet.priors import AnchorGenerator, LegacyAnchorGenerator


def packed(mask):
    return tf.constant(np.packbits(mask.astype(np.uint8), axis=-1)[None, None])


def test_packed_masks_are_read_between_pixels_and_counted_in_boxes():
    mask = np.random.default_rng(0).random([6, 13]) > 0.5
    points = tf.constant([[[[3.5, 2.5], [9.0, 2.5], [13.0, 0.5], [-2.0, 3.0]]]])
    values = ops.sample_packed_masks(packed(mask), points, tf.constant([[0]]))
    wanted = [mask[2, 3], (float(mask[2, 8]) + mask[2, 9]) / 2, mask[0, 12] / 2, 0.0]
    np.testing.assert_allclose(values[0, 0], wanted)
    boxes = tf.constant([[[0, 0, 13, 6], [3, 1, 9, 5], [8, 0, 13, 2], [5, 5, 5, 5]]])
    counts = ops.packed_areas_in_boxes(packed(mask), boxes, tf.zeros([1, 4], tf.int32))
    np.testing.assert_array_equal(counts[0], [mask.sum(), mask[1:5, 3:9].sum(), mask[:2, 8:].sum(), 0])
    np.testing.assert_array_equal(ops.packed_mask_areas(packed(mask)), [[mask.sum()]])


def test_grid_points_of_a_box_are_found_again():
    head = GridHead(norm={"kind": "gn", "groups": 36})
    rois = tf.constant([[10.0, 20.0, 66.0, 76.0]])
    boxes = tf.constant([[14.0, 18.0, 60.0, 80.0]])
    maps = head.targets(rois, boxes)
    assert maps.shape == (1, 28, 28, 9)
    np.testing.assert_array_equal(tf.reduce_sum(maps, [1, 2]), [[5.0] * 9])  # discs of radius 1
    # the middles of the discs are the best cells once the discs are blurred
    blurred = tf.nn.depthwise_conv2d(maps, tf.ones([3, 3, 9, 1]), [1, 1, 1, 1], "SAME")
    found = head.decode(blurred * 4.0 - 10.0, rois)
    np.testing.assert_allclose(found, boxes, atol=2.0)  # a cell has two pixels


def test_buckets_decode_what_they_encode():
    coder = BucketingCoder(num_buckets=14, scale=1.7)
    priors = tf.constant([[10.0, 10, 40, 50], [0, 0, 20, 20]])
    boxes = tf.constant([[12.0, 8, 44, 47], [3, 2, 18, 25]])
    buckets, bucket_weights, offsets, offset_weights = coder.encode(priors, boxes)
    np.testing.assert_array_equal(tf.reduce_sum(buckets, -1), 1.0)
    assert set(np.unique(tf.reduce_sum(offset_weights, -1))) <= {1.0, 2.0}  # the next only if near
    assert tf.reduce_min(tf.reduce_sum(bucket_weights, -1)) == 6.0  # all but the neighbor within a bucket
    flat = [tf.reshape(x, [2, 28]) for x in (buckets * 20.0, offsets)]
    np.testing.assert_allclose(coder.decode(priors, *flat), boxes, atol=1e-4)
    assert np.all(coder.confidence(flat[0]) > 0.99)


def test_primes_are_the_best_boxes_of_each_object():
    # two objects of class 0, one of class 1; the last row is no positive
    ious = tf.constant([0.9, 0.8, 0.6, 0.5, 0.3])
    assignment = Assignment(tf.constant([[0, 0, 1, 2, -1]]), tf.ones([1, 5]))
    labels = tf.constant([[0, 0, 0, 1, 7]])
    weights = prime_sample_weights(ious[None], labels, assignment, 3, 7, tf.ones([1, 5]), power=1.0)[0]
    # class 0: object 0's best, object 1's best, then object 0's second: ranks 0, 2, 1 of 3; class 1: rank 0
    raw = np.array([1.0, 1 / 3, 2 / 3, 1.0])
    np.testing.assert_allclose(weights, [*(raw * 4 / raw.sum()), 1.0], rtol=1e-6)


def test_ranks_are_squared_and_without_positives_all_weigh_the_same():
    overlaps, labels = tf.constant([[0.9, 0.8, 0.6, 0.1]]), tf.constant([[4, 4, 4, 9]])
    some = Assignment(tf.constant([[0, 0, 1, -1]]), tf.ones([1, 4]))
    weights = prime_sample_weights(overlaps, labels, some, 2, 9, tf.ones([1, 4])).numpy()[0]
    # best of object 0, then best of object 1, then the second of object 0: 1, 2/3, 1/3 squared, mean kept
    raw = np.array([1.0, 1 / 9, 4 / 9])
    np.testing.assert_allclose(weights, [*(raw * 3 / raw.sum()), 1.0], rtol=1e-6)
    none = Assignment(tf.fill([1, 4], -1), tf.ones([1, 4]))
    weights = prime_sample_weights(overlaps, labels, none, 2, 9, tf.ones([1, 4]))
    assert weights.numpy().tolist() == [[1.0] * 4]


def test_weights_of_box_losses_have_mean_one():
    losses, probability = tf.ones([1, 3, 1]) * [[[6.0], [3.0], [9.0]]], tf.constant([[0.0, 1.0, 0.5]])
    loss = classification_aware_box_loss(losses, probability, tf.constant([[True, True, False]]), 1.0)
    np.testing.assert_allclose(loss, 6 / 3 + 3 * 5 / 3, rtol=1e-6)
    assert classification_aware_box_loss(losses, probability, tf.zeros([1, 3], bool), 1.0).numpy() == 0.0


def test_boxes_of_sure_classes_weigh_more():
    probability = tf.constant([[0.9, 0.1, 0.5]])
    positive = tf.constant([[True, True, False]])
    loss = classification_aware_box_loss(
        tf.ones([1, 3, 4]) * [[[1.0], [2.0], [9.0]]], probability, positive, 2.0
    )
    weight = np.array([0.92, 0.28])
    weight *= 2 / weight.sum()
    np.testing.assert_allclose(loss, 4 * (weight[0] + 2 * weight[1]) / 2, rtol=1e-6)


def test_regions_decide_which_anchors_count():
    anchors = tf.concat(AnchorGenerator([4, 8], ratios=[1.0], scales=[8])([(8, 8), (4, 4)]), 0)
    targets = {"boxes": tf.constant([[[0.0, 0, 32, 32], [0, 0, 0, 0]]]), "labels": tf.constant([[3, -1]])}
    given = RegionAssigner(center_ratio=0.2, ignore_ratio=0.5)(
        anchors, targets, tf.ones([1, 80], bool), strides=[4, 8], shapes=[(8, 8), (4, 4)], base_size=32.0
    )
    fine = tf.reshape(given.positive[:, :64], [8, 8]).numpy()
    # the middle fifth of 8 cells is [3.2, 4.8], rounded to the cells 3 .. 5; the half around it 2 .. 6
    assert fine.sum() == 9 and fine[3:6, 3:6].all()
    weight = tf.reshape(given.weight[:, :64], [8, 8]).numpy()
    assert weight[2:7, 2:7].sum() == 9 and weight.sum() == 64 - 25 + 9
    assert not given.positive.numpy()[:, 64:].any()


def test_legacy_boxes_own_their_last_pixel():
    anchors = LegacyAnchorGenerator([16], ratios=[1.0], scales=[1], center_offset=0.5)
    np.testing.assert_array_equal(anchors.base_anchors[0], [[0, 0, 15, 15]])
    coder = LegacyDeltaXYWHCoder()
    priors = tf.constant([[[0.0, 0, 15, 15]]])
    assert np.allclose(coder.encode(priors, tf.constant([[[8.0, 0, 23, 15]]])), [[[0.5, 0, 0, 0]]])
    np.testing.assert_array_equal(coder.decode(priors, tf.zeros([1, 1, 4])), [[[-0.5, -0.5, 15.5, 15.5]]])
