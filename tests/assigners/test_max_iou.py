import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import MaxIoUAssigner, blocks

PRIORS = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [20, 20, 30, 30], [0, 0, 10, 6]])


def targets(*boxes, pad=0):
    rows = np.float32([*boxes, *[[0, 0, 0, 0]] * pad]).reshape(1, -1, 4)
    labels = np.int32([[*range(len(boxes)), *[-1] * pad]])
    return {"boxes": tf.constant(rows), "labels": tf.constant(labels)}


def test_thresholds_split_positives_ignored_and_background():
    assigner = MaxIoUAssigner(pos_iou=0.7, neg_iou=0.5, match_low_quality=False)
    got = assigner(PRIORS, targets([0, 0, 10, 10], pad=2))
    np.testing.assert_array_equal(got.gt_index[0], [0, 0, -1, -1, -1])
    np.testing.assert_array_equal(got.weight[0], [1, 1, 1, 1, 0])  # IoU 0.6 is neither
    np.testing.assert_allclose(got.overlaps[0], [1, 0.8, 0.4, 0, 0.6], rtol=1e-6)


def test_a_threshold_that_follows_the_training_takes_the_place_of_all_three():
    assigner = MaxIoUAssigner(pos_iou=0.9, neg_iou=(0.5, 0.6), min_pos_iou=0.0)
    fixed = MaxIoUAssigner(pos_iou=0.55, neg_iou=0.55, min_pos_iou=0.55)
    objects = targets([0, 0, 10, 10], [20, 20, 30, 25])
    got, wanted = assigner(PRIORS, objects, threshold=tf.Variable(0.55)), fixed(PRIORS, objects)
    np.testing.assert_array_equal(got.gt_index[0], [0, 0, -1, -1, 0])
    for mine, theirs in zip(got, wanted):
        np.testing.assert_array_equal(mine, theirs)


def test_an_object_without_a_good_prior_takes_its_best_ones():
    assigner = MaxIoUAssigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3)
    got = assigner(PRIORS, targets([0, 0, 10, 10], [20, 20, 30, 24]))
    np.testing.assert_array_equal(got.gt_index[0], [0, 0, -1, 1, -1])


def test_of_two_claims_the_later_object_wins():
    assigner = MaxIoUAssigner(pos_iou=0.9, neg_iou=0.3, min_pos_iou=0.1)
    got = assigner(PRIORS[3:4], targets([20, 20, 30, 25], [20, 25, 30, 30]))
    np.testing.assert_array_equal(got.gt_index[0], [1])


def test_without_objects_all_valid_priors_are_background():
    assigner = MaxIoUAssigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.0)
    valid = tf.constant([[True, True, False, True, True]])
    got = assigner(PRIORS, targets(pad=3), valid)
    np.testing.assert_array_equal(got.gt_index[0], [-1] * 5)
    np.testing.assert_array_equal(got.weight[0], [1, 1, 0, 1, 1])


def test_priors_in_ignore_regions_take_no_part():
    assigner = MaxIoUAssigner(pos_iou=0.7, neg_iou=0.3, ignore_iof=0.5)
    wanted = {**targets([0, 0, 10, 10]), "ignore_boxes": tf.constant([[[20.0, 20, 30, 30], [0, 0, 0, 0]]])}
    np.testing.assert_array_equal(assigner(PRIORS, wanted).weight[0], [1, 1, 0, 0, 0])


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("compiled", [False, True])
def test_objects_in_blocks_match_as_all_at_once(monkeypatch, ties, compiled):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (3, 43, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(4, 30, (3, 43, 2))], -1).astype(np.float32)
    boxes[:, 20] = boxes[:, 3]  # the same object in two blocks: the first is the best, the last claims
    labels = random.integers(-1, 3, (3, 43)).astype(np.int32)
    labels[1] = -1  # an image without objects
    labels[2, 5:] = -1  # one whose later blocks are padding
    priors = np.concatenate([boxes[0] + 1, boxes[2, ::2] - 2, np.full((4, 4), 900, np.float32)])
    valid = random.random((3, len(priors))) < 0.9
    data = {"boxes": tf.constant(boxes), "labels": tf.constant(labels)}

    def assigned(block):
        monkeypatch.setattr(blocks, "BLOCK", block)
        assigner = MaxIoUAssigner(0.5, (0.1, 0.4), 0.2, gt_max_assign_all=ties, ignore_iof=0.5)
        given = {**data, "ignore_boxes": tf.constant(boxes[:, :2])}
        run = tf.function(lambda: assigner(priors, given, valid), jit_compile=compiled, autograph=False)
        return [value.numpy() for value in run()]

    expected = assigned(43)
    assert 0 < (expected[0] >= 0).sum() < expected[0].size and (expected[0][1] == -1).all()
    for block in (8, 16, 42):
        for mine, theirs in zip(assigned(block), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
