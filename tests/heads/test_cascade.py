"""What a stage of a cascade hands on."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import MaxIoUAssigner
from kdet.coders import DeltaXYWHCoder
from kdet.heads.roi import BBoxHead, CascadeRoIHead, SingleRoIExtractor, StandardRoIHead
from kdet.losses import CrossEntropyLoss, SmoothL1Loss
from kdet.samplers import RandomSampler

INFO = {
    "valid_size": tf.constant([[64.0, 64.0]]),
    "padded_size": tf.constant([[64.0, 64.0]]),
    "scale": tf.constant([[1.0, 1.0]]),
    "seed": tf.constant([0, 0]),
}


def make_stage(iou):
    return StandardRoIHead(
        bbox_roi_extractor=SingleRoIExtractor(strides=[8], output_size=2),
        bbox_head=BBoxHead(
            num_classes=3,
            coder=DeltaXYWHCoder(),
            loss_cls=CrossEntropyLoss(),
            loss_bbox=SmoothL1Loss(),
            fc_units=4,
            class_agnostic=True,
        ),
        assigner=MaxIoUAssigner(pos_iou=iou, neg_iou=iou, match_low_quality=False),
        sampler=RandomSampler(num=8, pos_fraction=0.5),
    )


@pytest.fixture
def head():
    return CascadeRoIHead(stages=[make_stage(0.5), make_stage(0.6)], stage_loss_weights=[1.0, 0.5])


FEATURES = (tf.random.stateless_normal([1, 8, 8, 5], [1, 2]),)
PROPOSALS = tf.constant([[[0.0, 0, 20, 20], [30, 30, 50, 60], [0, 0, 0, 0]]])


def test_objects_and_padding_are_not_handed_on(head):
    targets = {"boxes": tf.constant([[[1.0, 1, 19, 19], [0, 0, 0, 0]]]), "labels": tf.constant([[2, -1]])}
    present = tf.constant([[True, True, False]])
    _, (handed_on, present), _ = head.stage_losses(0, FEATURES, PROPOSALS, present, targets, INFO)
    sides = handed_on[0, :, 2:] - handed_on[0, :, :2]
    assert np.sum(np.all(sides > 0, -1)) == 2  # the two real proposals, not the object
    assert np.sum(present) == 2


def test_a_region_that_a_stage_turned_over_is_an_example_of_background(head):
    # as SABL's sides may, each found for itself; MMDetection's second stage counts such a region
    targets = {"boxes": tf.constant([[[1.0, 1, 19, 19]]]), "labels": tf.constant([[2]])}
    regions = tf.constant([[[0.0, 0, 20, 20], [50, 30, 30, 60], [64, 0, 64, 9], [0, 0, 0, 0]]])
    present = tf.constant([[True, True, True, False]])
    _, _, (rois, assignment, _) = head.stage_losses(1, FEATURES, regions, present, targets, INFO)
    background = rois[assignment.negative]
    assert sorted(map(list, background.numpy())) == [[50, 30, 30, 60], [64, 0, 64, 9]]
    assert np.sum(assignment.positive) == 2  # the object itself and the region on it


def test_losses_are_weighted_and_finite_without_objects(head):
    targets = {"boxes": tf.zeros([1, 2, 4]), "labels": tf.constant([[-1, -1]])}
    losses = head.compute_losses(FEATURES, PROPOSALS, targets, INFO)
    assert sorted(losses) == ["s0.loss_bbox", "s0.loss_cls", "s1.loss_bbox", "s1.loss_cls"]
    assert all(np.isfinite(v) for v in losses.values())
    assert losses["s0.loss_bbox"] == 0.0


def test_refine_takes_the_given_class_or_the_best_but_background(head):
    box_head = make_stage(0.5).bbox_head
    box_head.class_agnostic = False
    deltas = tf.reshape(tf.constant([0.0, 0, 0, 0, 0.5, 0, 0, 0, 1.0, 0, 0, 0] * 2), [2, 12])
    scores = tf.constant([[0.0, 1.0, 0.0, 9.0]] * 2)
    rois = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 10]]])
    boxes = box_head.refine(scores, deltas, rois, INFO, labels=tf.constant([[3, 2]]))
    np.testing.assert_allclose(boxes, [[[5, 0, 15, 10], [10, 0, 20, 10]]])


def test_stages_and_weights_must_agree():
    with pytest.raises(ValueError, match="1 stages but 3 stage_loss_weights"):
        CascadeRoIHead(stages=[make_stage(0.5)])
