"""NaN and infinity never match, in any assigner."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import assigners
from kdet.assigners import (
    HungarianAssigner,
    MaskHungarianAssigner,
    MixtureSelection,
    UniformAssigner,
)
from kdet.assigners.hungarian import cheapest
from kdet.contract import Assignment

SIDE, STRIDES = 4, (8, 16)  # two levels of 4x4 and 2x2 cells
BAD = (np.nan, np.inf, -np.inf)
OBJECTS = np.float32([[[1, 1, 15, 15], [14, 14, 31, 31], [0, 0, 0, 0]]])
LABELS = np.int32([[0, 1, -1]])


def cells():
    """Anchors ``[20,4]`` and points ``[20,3]`` of both levels."""
    points = [
        [(x + 0.5) * stride, (y + 0.5) * stride, stride]
        for stride in STRIDES
        for y in range(SIDE * 8 // stride)
        for x in range(SIDE * 8 // stride)
    ]
    points = np.float32(points)
    half = points[:, 2:]
    return np.concatenate([points[:, :2] - half, points[:, :2] + half], 1), points


ANCHORS, POINTS = cells()
SQUARES = np.concatenate([ANCHORS, ANCHORS], 1)  # two equal anchors for each
LEVELS = {"strides": STRIDES, "shapes": [(4, 4), (2, 2)], "base_size": tf.constant(16.0)}
ALL = np.ones([1, 20], bool)
PREDICTED = {"predictions": tf.constant(ANCHORS[None]), "scores": tf.fill([1, 20, 2], 0.5)}
# name -> (constructor arguments, priors, further arguments of the call)
CASES = {
    "MaxIoUAssigner": ({"pos_iou": 0.5, "neg_iou": 0.4, "ignore_iof": 0.5}, ANCHORS, {}),
    "ApproxMaxIoUAssigner": ({"pos_iou": 0.5, "neg_iou": 0.4}, SQUARES, {}),
    "BestTwoAssigner": ({"iou": 0.2}, ANCHORS, {}),
    "ATSSAssigner": ({"topk": 6}, ANCHORS, {"level_sizes": (16, 4)}),
    "CenterRegionAssigner": ({"pos_scale": 0.5}, ANCHORS, {}),
    "DynamicSoftLabelAssigner": ({}, POINTS, PREDICTED),
    "GridAssigner": ({}, ANCHORS, {"valid": tf.constant(ALL)}),
    "NearestPointAssigner": ({}, POINTS, {}),
    "PointInBoxAssigner": ({"strides": STRIDES, "regress_ranges": [(0, 12), (12, 99)]}, POINTS, {}),
    "RegionAssigner": (
        {"center_ratio": 1.0, "ignore_ratio": 1.0},
        ANCHORS,
        {"valid": tf.constant(ALL), **LEVELS},
    ),
    "SimOTAAssigner": ({}, POINTS, PREDICTED),
    "TaskAlignedAssigner": ({"topk": 4}, ANCHORS, PREDICTED),
    "UniformAssigner": ({"match_times": 2}, ANCHORS, {"predictions": tf.constant(ANCHORS[None])}),
}


def assign(name, boxes=OBJECTS, labels=LABELS, priors=None, ignore=None):
    arguments, usual, others = CASES[name]
    targets = {"boxes": tf.constant(boxes), "labels": tf.constant(labels)}
    if ignore is not None:
        targets["ignore_boxes"] = tf.constant(ignore)
    priors = tf.constant(usual if priors is None else priors)
    return getattr(assigners, name)(**arguments)(priors, targets, **others)


def assert_equal(got, wanted):
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(*(() if x is None else x for x in (mine, theirs)))


def test_every_assigner_is_here():
    known = {*CASES, "Assigner", "HungarianAssigner", "MaskHungarianAssigner", "MixtureSelection"}
    assert known == set(assigners.__all__)


@pytest.mark.parametrize("name", CASES)
def test_an_object_that_is_not_finite_is_none(name):
    wanted = assign(name, labels=np.int32([[0, -1, -1]]))
    full = assign(name)
    assert {0, 1} <= set(full.gt_index.numpy()[0])
    for bad in BAD:
        boxes = OBJECTS.copy()
        boxes[0, 1, 2] = bad
        assert_equal(assign(name, boxes), wanted)
    # it is nothing to the image either when it is the only one
    alone = np.int32([[-1, 1, -1]])
    assert_equal(assign(name, boxes, alone), assign(name, labels=np.int32([[-1, -1, -1]])))


@pytest.mark.parametrize("name", CASES)
def test_a_prior_that_is_not_finite_takes_no_part(name):
    place = int(np.flatnonzero(assign(name).positive[0])[0])
    for bad in BAD:
        priors = CASES[name][1].copy()
        priors[place, 1] = bad
        got = assign(name, priors=priors)
        assert got.gt_index[0, place] == -1 and got.weight[0, place] == 0
        assert all(np.isfinite(part).all() for part in got if part is not None)
        assert np.delete(got.positive, place).any()


@pytest.mark.parametrize("name", ["MaxIoUAssigner", "CenterRegionAssigner"])
def test_a_region_to_ignore_that_is_not_finite_ignores_nothing(name):
    wanted = assign(name, ignore=np.zeros([1, 1, 4], np.float32))
    for bad in BAD:
        assert_equal(assign(name, ignore=np.float32([[[0, 0, 40, bad]]])), wanted)


def test_a_predicted_box_that_is_not_finite_is_nobodys_nearest():
    targets = {"boxes": tf.constant(OBJECTS), "labels": tf.constant(LABELS)}
    assigner = UniformAssigner(match_times=2)
    first = assigner.match(tf.constant(ANCHORS), targets, None, tf.constant(ANCHORS[None]))
    place = int(np.flatnonzero(first[0].positive[0])[0])
    for bad in BAD:
        predictions = ANCHORS[None].copy()
        predictions[0, place] = bad
        assignment, rows, counted = assigner.match(
            tf.constant(ANCHORS), targets, None, tf.constant(predictions)
        )
        assert place not in assignment.gt_index.numpy()[0].nonzero()[0] or not assignment.positive[0, place]
        assert not counted.numpy()[rows.numpy() == place].any()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("SimOTAAssigner", {}),
        ("DynamicSoftLabelAssigner", {}),
        ("TaskAlignedAssigner", {}),
        ("ATSSAssigner", {"alpha": 0.8}),
    ],
)
@pytest.mark.parametrize("key", ["predictions", "scores"])
def test_a_prediction_that_is_not_finite_is_nobodys_best(name, more, key):
    arguments, priors, others = CASES[name]
    targets = {"boxes": tf.constant(OBJECTS), "labels": tf.constant(LABELS)}
    assigner = getattr(assigners, name)(**arguments, **more)
    first = assigner(tf.constant(priors), targets, **{**others, **PREDICTED})
    place = int(np.flatnonzero(first.positive[0])[0])
    for bad in BAD:
        broken = PREDICTED[key].numpy()
        broken[0, place, 0] = bad
        got = assigner(tf.constant(priors), targets, **{**others, **PREDICTED, key: tf.constant(broken)})
        assert not got.positive[0, place] and np.isfinite(got.overlaps).all()


@pytest.mark.parametrize("bad", BAD)
def test_a_prediction_without_finite_costs_gets_no_object(bad):
    boxes = tf.constant([[[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]]])
    targets = {
        "boxes": tf.constant([[[60.0, 60, 80, 80], [10, 10, 30, 30]]]),
        "labels": tf.constant([[0, 1]]),
    }
    size = tf.constant([[[100.0, 100.0, 100.0, 100.0]]])
    logits = np.zeros([1, 1, 3, 3], np.float32)
    logits[..., 1, :] = bad  # the prediction that has the first object's place
    (got,) = HungarianAssigner()(tf.constant(logits), boxes, targets, size)
    assert got.gt_index.numpy()[0].tolist() == [1, -1, 0]
    nothing = tf.where(tf.constant([True, False, False])[:, None], boxes, np.nan)
    (got,) = HungarianAssigner()(tf.zeros([1, 1, 3, 3]), nothing, targets, size)
    assert sorted(got.gt_index.numpy()[0]) == [-1, -1, 1]  # two objects, one usable prediction


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("key", ["logits", "masks"])
def test_a_predicted_mask_without_finite_costs_gets_no_object(key, bad):
    truth = np.float32([[[1, 1, 0, 0], [0, 0, 1, 1]]])  # two objects, four places
    given = {
        "logits": np.zeros([1, 3, 3], np.float32),
        "masks": np.float32([[[9, -9, 1], [9, -9, 1], [-9, 9, 1], [-9, 9, 1]]]),  # three predictions
    }
    labels = tf.constant([[0, 1]])

    def matched(given):
        cost = MaskHungarianAssigner()(given["logits"], given["masks"], labels, truth)
        return cheapest(cost[None], labels >= 0)[0].gt_index.numpy()[0].tolist()

    assert matched(given) == [0, 1, -1]
    given[key][(0, 0) if key == "logits" else (0, slice(None), 0)] = bad
    found = matched(given)
    assert key == "masks" and np.isinf(bad) or found[0] == -1
    assert sorted(found) in ([-1, 0, 1], [-1, -1, 1])


@pytest.mark.parametrize("bad", BAD)
def test_a_loss_that_is_not_finite_is_in_neither_group(bad):
    assignment = Assignment(tf.constant([[0, 0, 0, 0, 0, -1]]), tf.ones([1, 6]))
    losses = np.float32([[0.1, 0.11, 0.12, 3.0, 3.1, 0.0]])
    wanted = MixtureSelection(9)(assignment, tf.constant(losses), [6], tf.constant(1)).gt_index.numpy()
    assert wanted[0].tolist() == [0, 0, -1, -1, -1, -1]
    losses[0, 0] = bad
    got = MixtureSelection(9)(assignment, tf.constant(losses), [6], tf.constant(1)).gt_index.numpy()
    assert got[0, 0] == -1 and (got[0] == 0).any()
