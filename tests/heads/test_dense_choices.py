"""How dense heads choose their samples: FSAF, FoveaBox, FreeAnchor, GHM, distillation; by hand."""

import numpy as np
import tensorflow as tf

from kdet import assigners, coders, contract, losses
from kdet.heads.dense import FoveaHead, FreeAnchorHead, FSAFHead
from kdet.priors import AnchorGenerator


def test_tblr_counts_in_sides_of_the_anchor():
    anchor = tf.constant([[0.0, 0, 4, 2]])  # 4 wide, 2 high, center (2, 1)
    boxes = coders.TBLRCoder(normalizer=2.0).decode(anchor, tf.constant([[[1.0, 2.0, 0.5, 1.5]]]))
    np.testing.assert_array_equal(boxes, [[[2 - 0.5 * 8, 1 - 1 * 4, 2 + 1.5 * 8, 1 + 2 * 4]]])


def test_center_regions_shadows_and_clashes():
    anchors = tf.constant([[0.0, 0, 8, 8], [8, 0, 16, 8], [32, 0, 40, 8], [40, 0, 48, 8]])
    targets = {
        # the second object, of another class, lies in the middle of the first; the third is a neighbor
        # of the class of the first
        "boxes": tf.constant([[[-20.0, -12, 36, 20], [0, 0, 16, 8], [30, 0, 50, 8], [0, 0, 0, 0]]]),
        "labels": tf.constant([[0, 1, 0, -1]]),
    }
    assigner = assigners.CenterRegionAssigner(pos_scale=0.5, neg_scale=0.5)
    found, shadow = assigner.assign_with_shadows(anchors, targets)
    np.testing.assert_array_equal(found.gt_index, [[1, 1, 2, 2]])
    np.testing.assert_array_equal(shadow[0, 0], [True, True, False, False])
    assert not shadow[0, 3].numpy().any()
    wide = assigners.CenterRegionAssigner(pos_scale=0.5, neg_scale=1.0)
    found, shadow = wide.assign_with_shadows(anchors, targets)
    # anchor 2 answers for class 0 and lies in the shadow of another object of class 0
    np.testing.assert_array_equal(found.gt_index, [[1, 1, -1, 2]])
    ignored = {**targets, "ignore_boxes": tf.constant([[[-8.0, -8, 16, 16]]])}
    np.testing.assert_array_equal(assigner(anchors, ignored).weight, [[0, 1, 1, 1]])


def test_fsaf_chooses_the_level_with_the_least_mean_loss():
    index = tf.constant([[0, 0, 0, 1, -1]])
    assignment = contract.Assignment(index, tf.ones([1, 5]))
    level = tf.constant([0, 0, 1, 1, 1])
    loss = tf.constant([[1.0, 4.0, 2.0, 9.0, 0.0]])
    # object 0: 2.5 on level 0 and 2 on level 1; object 1 only on level 1; object 2 (padding) nowhere
    best = FSAFHead.best_level(loss, assignment, level, 2, 3)
    np.testing.assert_array_equal(best, [[1, 1, 0]])


def test_fovea_gives_a_cell_to_the_smallest_object_whose_middle_covers_it():
    head = FoveaHead(
        num_classes=2, strides=[8], scale_ranges=[[1, 64]], loss_cls=None, loss_bbox=None, stacked_convs=0
    )
    points = tf.concat(head.priors([(3, 4)]), 0)
    targets = {
        "boxes": tf.constant([[[0.0, 0, 32, 24], [0, 0, 16, 16], [0, 0, 300, 300], [0, 0, 0, 0]]]),
        "labels": tf.constant([[0, 1, 0, -1]]),
    }
    found = head.assign(points, [(3, 4)], targets).gt_index
    # middle of the first: x 9.6..22.4, y 7.2..16.8: cells 1..2, row 1; of the second: 4.8..11.2: row and
    # column from ceil(0.1) to floor(0.9), nothing. The third belongs to no level.
    np.testing.assert_array_equal(tf.reshape(found, [3, 4]), [[-1] * 4, [-1, 0, 0, -1], [-1] * 4])


def fovea_cells(box, scale_range=(1, 64)):
    """The (row, column) of the cells of a map of 3 x 4, with a stride of 8, that a box is given."""
    head = FoveaHead(
        num_classes=2, strides=[8], scale_ranges=[scale_range], loss_cls=None, loss_bbox=None, stacked_convs=0
    )
    targets = {"boxes": tf.constant([[box]], tf.float32), "labels": tf.constant([[0]])}
    found = head.assign(tf.concat(head.priors([(3, 4)]), 0), [(3, 4)], targets).gt_index
    return [tuple(cell) for cell in np.argwhere(np.reshape(found, [3, 4]) == 0).tolist()]


def test_fovea_rounds_the_middle_to_the_centers_of_cells():
    # middles from 1.52 cells on, the second to 1.52 cells; and rows of 0.3 to 0.7
    assert fovea_cells([4.96, 0, 28.96, 8]) == [(0, 2)]
    assert fovea_cells([0, 0, 17.38, 8]) == [(0, 1)]
    # cells of the edge stand for what lies beyond
    assert fovea_cells([0, 0, 4, 4]) == [(0, 0)]
    assert fovea_cells([28, 20, 36, 28]) == [(2, 3)]


def test_fovea_levels_take_both_ends_of_their_range():
    box = [0, 0, 16, 16]
    assert fovea_cells(box, (16, 17)) == fovea_cells(box, (15, 16)) == fovea_cells(box)
    assert fovea_cells(box, (15, 15.9)) == fovea_cells(box, (16.1, 17)) == []


def test_free_anchor_tells_objects_from_background_by_iou():
    generator = AnchorGenerator(strides=[8], ratios=[1.0], scales=[1])
    head = FreeAnchorHead(
        num_classes=2, anchor_generator=generator, coder=coders.DeltaXYWHCoder(),
        loss_bbox=losses.SmoothL1Loss(), stacked_convs=0,
    )  # fmt: skip
    targets = {"boxes": tf.constant([[[0.0, 0, 10, 10], [0, 0, 0, 0]]]), "labels": tf.constant([[1, -1]])}
    # IoU 0.8, 0.7 and 0: share of the way from 0.6 to the best
    boxes = tf.constant([[[0.0, 0, 10, 8], [0, 0, 7, 10], [20, 20, 30, 30]]])
    np.testing.assert_allclose(head.foreground(boxes, targets)[0], [[0, 1], [0, 0.5], [0, 0]], atol=1e-5)


def test_ghm_weighs_by_the_number_of_samples_of_a_kind():
    loss = losses.GHMRegressionLoss(mu=1.0, bins=2, momentum=0.5)
    pred, target = tf.constant([[[0.0, 0.0, 2.0]]]), tf.zeros([1, 1, 3])
    # gradient lengths 0, 0 and 0.894: two in the first half, one in the second; half of them is remembered
    value = loss(pred, target, tf.ones([1, 1]))
    np.testing.assert_allclose(loss.acc_sum, [1.0, 0.5])
    np.testing.assert_allclose(value, (np.sqrt(5) - 1) / 0.5 / 2, rtol=1e-6)
    np.testing.assert_allclose(loss(pred, target, tf.zeros([1, 1])), 0.0)
    np.testing.assert_allclose(loss.acc_sum, [1.0, 0.5])


def test_distillation_of_a_like_minded_student_is_free():
    logits = tf.constant([[1.0, 2.0, 3.0]])
    loss = losses.DistillationLoss(temperature=2.0)
    np.testing.assert_allclose(loss(logits, logits + 5.0), 0.0, atol=1e-6)
    p, q = np.array([0.5, 0.5]), np.array([0.8, 0.2])
    expected = np.sum(p * np.log(p / q)) / 2
    one = losses.DistillationLoss(temperature=1.0)
    np.testing.assert_allclose(
        one(tf.constant(np.log([q]), tf.float32), tf.zeros([1, 2])), expected, rtol=1e-5
    )
