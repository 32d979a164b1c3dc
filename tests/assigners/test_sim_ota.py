"""SimOTA on a grid of four by four cells that can be worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import SimOTAAssigner
from kdet.assigners.sim_ota import class_cost, class_terms
from kdet.priors import PointGenerator

POINTS = PointGenerator([8])([(4, 4)])[0]  # middles of the cells of a 32x32 image


def targets(boxes, labels):
    return {"boxes": tf.constant([boxes], tf.float32), "labels": tf.constant([labels], tf.int32)}


def predictions(boxes, scores):
    """Empty boxes and nothing in them, but for ``{cell: box}`` and ``{(cell, class): score}``."""
    found, probability = np.zeros((1, 16, 4), np.float32), np.full((1, 16, 2), 1e-4, np.float32)
    for cell, box in boxes.items():
        found[0, cell] = box
    for (cell, label), score in scores.items():
        probability[0, cell, label] = score
    return {"predictions": tf.constant(found), "scores": tf.constant(probability)}


def test_an_object_takes_as_many_points_as_its_overlaps_add_up_to():
    box = [0, 0, 32, 32]
    # IoUs 1, 0.75 and 0.5 add up to 2.25: two points, the cheapest ones
    found = predictions(
        {5: box, 6: [0, 0, 32, 24], 9: [0, 0, 32, 16]}, {(5, 1): 0.9, (6, 1): 0.9, (9, 1): 0.9}
    )
    assignment = SimOTAAssigner()(POINTS, targets([box, [0, 0, 0, 0]], [1, -1]), **found)
    index = assignment.gt_index.numpy()[0]
    assert np.flatnonzero(index == 0).tolist() == [5, 6] and (index[[0, 9, 15]] == -1).all()
    np.testing.assert_allclose(assignment.overlaps.numpy()[0, [5, 6, 9]], [1.0, 0.75, 0.0], rtol=1e-6)
    assert (assignment.weight.numpy() == 1).all()


def test_a_point_of_two_objects_goes_to_the_cheaper_one():
    large, small = [0, 0, 32, 32], [8, 8, 24, 24]
    found = predictions({5: small, 10: large}, {(5, 0): 0.9, (5, 1): 0.1, (10, 0): 0.9})
    assignment = SimOTAAssigner()(POINTS, targets([large, small], [0, 0]), **found)
    index = assignment.gt_index.numpy()[0]
    # both want one point each: the large one the tenth, the small one the fifth
    assert index[5] == 1 and index[10] == 0 and (index >= 0).sum() == 2
    both = predictions({5: small}, {(5, 0): 0.9})
    index = SimOTAAssigner()(POINTS, targets([large, small], [0, 0]), **both).gt_index.numpy()[0]
    assert index[5] == 1


def test_points_outside_are_taken_only_when_nothing_else_is_there():
    box = [1, 1, 3, 3]  # holds no middle of a cell; the first ones are near its center
    found = predictions({}, {(0, 1): 0.5, (5, 1): 0.9, (15, 1): 0.99})
    index = SimOTAAssigner(center_radius=1.0)(POINTS, targets([box], [1]), **found).gt_index.numpy()[0]
    assert np.flatnonzero(index >= 0).tolist() == [0]  # the others are not even near
    far = targets([[100, 100, 102, 102]], [0])
    assert (SimOTAAssigner()(POINTS, far, **found).gt_index.numpy() == -1).all()


def test_without_objects_all_is_background():
    assignment = SimOTAAssigner()(POINTS, targets([[0, 0, 0, 0]], [-1]), **predictions({}, {}))
    assert (assignment.gt_index.numpy() == -1).all() and (assignment.overlaps.numpy() == 0).all()


def test_the_cost_of_classes_is_the_cross_entropy_of_the_root():
    scores = np.float32([[[0.81, 0.04, 0.0]]])
    wanted = [-np.log(0.9) - np.log(0.8), -np.log(0.1) - np.log(0.2), -np.log(0.1) - np.log(0.8) + 100]
    found = class_cost(class_terms(tf.constant(scores)), tf.constant([[0, 1, 2]]))
    assert found.numpy()[0, :, 0] == pytest.approx(wanted, rel=1e-5)
