"""RTMDet's assignment on a grid of four by four cells that can be worked out by hand."""

import numpy as np
import tensorflow as tf

from kdet.assigners import DynamicSoftLabelAssigner
from kdet.assigners.dynamic_soft_label import soft_label_cost, soft_label_terms
from kdet.priors import PointGenerator

POINTS = PointGenerator([8], offset=0.0)([(4, 4)])[0]  # corners of the cells of a 32x32 image


def assign(boxes, labels, found, score=None, **kwargs):
    """The assignment of empty predictions, but for ``{cell: box}`` and ``{(cell, class): logit}``."""
    predictions, scores = np.zeros((1, 16, 4), np.float32), np.full((1, 16, 2), -4.0, np.float32)
    for cell, box in found.items():
        predictions[0, cell] = box
    for (cell, label), logit in (score or {}).items():
        scores[0, cell, label] = logit
    targets = {"boxes": tf.constant([boxes], tf.float32), "labels": tf.constant([labels], tf.int32)}
    targets |= {k: tf.constant(v) for k, v in kwargs.items()}
    return DynamicSoftLabelAssigner()(
        POINTS, targets, None, tf.constant(predictions), scores=tf.constant(scores)
    )


def test_an_object_takes_as_many_points_as_its_overlaps_add_up_to():
    box = [0, 0, 32, 32]
    # the IoUs 1, 0.75 and 0.5 add up to 2.25: two points; points on the border of the box are outside of it
    found = {5: box, 6: [0, 0, 32, 24], 9: [0, 0, 32, 16], 0: box}
    assignment = assign([box, [0, 0, 0, 0]], [1, -1], found, {(5, 1): 2.0, (6, 1): 2.0, (9, 1): 2.0})
    index = assignment.gt_index.numpy()[0]
    assert np.flatnonzero(index >= 0).tolist() == [5, 6] and (index[[5, 6]] == 0).all()
    np.testing.assert_allclose(assignment.overlaps.numpy()[0, [5, 6, 9]], [1.0, 0.75, 0.0], rtol=1e-6)


def test_a_point_inside_another_object_may_be_taken():
    large, small = [1, 1, 31, 31], [17, 17, 23, 23]  # no point lies in the small one
    assignment = assign([large, small], [0, 1], {5: large, 10: small}, {(5, 0): 4.0, (10, 1): 4.0})
    index = assignment.gt_index.numpy()[0]
    assert index[10] == 1 and index[5] == 0 and (index >= 0).sum() == 2


def test_the_distance_is_measured_from_the_center_of_mass():
    box = [1, 1, 31, 31]
    half = {5: [1, 1, 31, 16], 15: [1, 16, 31, 31]}  # one point, of equal overlaps
    mask = np.zeros((1, 1, 32, 32), np.uint8)
    mask[..., 24:, 24:] = 1
    packed = np.packbits(mask, axis=-1)
    near = assign([box], [0], half).gt_index.numpy()[0]
    moved = assign([box], [0], half, masks=packed).gt_index.numpy()[0]
    assert np.flatnonzero(near == 0).tolist() == [5] and np.flatnonzero(moved == 0).tolist() == [15]


def test_the_cost_of_classes_is_the_quality_focal_loss():
    scores = np.float32([[[0.3, -1.0, 2.0]]])
    cost = soft_label_cost(
        soft_label_terms(tf.constant(scores)), tf.constant([[2]]), tf.constant([[[0.7]]])
    ).numpy()
    wanted = np.array([0.0, 0.0, 0.7])
    p = 1 / (1 + np.exp(-scores[0, 0].astype(np.float64)))
    entropy = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
    np.testing.assert_allclose(cost, [[[(entropy * (wanted - p) ** 2).sum()]]], rtol=1e-5)
