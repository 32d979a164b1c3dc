"""Points, distances, and the assigners of anchor-free heads, on cases small enough to check by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import assigners, coders, losses, priors
from kdet.heads.dense.gfl import expectation
from kdet.heads.dense.vfnet import star_offsets


def targets(*boxes, padding=1):
    """One image with the given boxes, classes 0, 1, ..., and rows of padding."""
    rows = [*boxes, *[(0, 0, 0, 0)] * padding]
    labels = [*range(len(boxes)), *[-1] * padding]
    return {"boxes": tf.constant([rows], tf.float32), "labels": tf.constant([labels])}


def test_points_sit_in_the_middle_of_their_cells_and_carry_the_stride():
    first, second = priors.PointGenerator([8, 16])([(1, 2), (1, 1)])
    np.testing.assert_array_equal(first, [[4, 4, 8], [12, 4, 8]])
    np.testing.assert_array_equal(second, [[8, 8, 16]])


def test_points_in_the_padding_are_not_valid():
    generator = priors.PointGenerator([8])
    valid = generator.valid([(2, 2)], tf.constant([[16.0, 8.0], [16.0, 16.0]]))
    np.testing.assert_array_equal(valid, [[True, False, True, False], [True] * 4])


def test_distances_to_the_sides_and_back():
    points, box = tf.constant([[4.0, 5.0, 8.0]]), tf.constant([[1.0, 2.0, 10.0, 20.0]])
    coder = coders.DistanceCoder()
    distances = coder.encode(points, box)
    np.testing.assert_array_equal(distances, [[3, 3, 6, 15]])
    np.testing.assert_array_equal(coder.decode(points, distances), box)
    cut = coder.decode(points, distances[None], tf.constant([[10.0, 8.0]]))
    np.testing.assert_array_equal(cut, [[[1, 2, 8, 10]]])


def test_centerness_is_one_in_the_middle_and_zero_without_an_object():
    distances = tf.constant([[5.0, 5, 5, 5], [1, 4, 4, 4], [-1, 0, 0, 0], [8, 3, 2, 12], [2, 12, 8, 3]])
    central = coders.centerness(distances, tf.constant([True, True, False, True, True]))
    np.testing.assert_allclose(central, [1.0, 0.5, 0.0, 0.25, 0.25])


def test_a_point_belongs_to_the_smallest_box_of_its_level():
    points = tf.constant([[4.0, 4, 8], [12, 4, 8], [20, 4, 8], [8, 8, 16]])
    assigner = assigners.PointInBoxAssigner(strides=[8, 16], regress_ranges=[[-1, 16], [16, 1e8]])
    truth = targets((0, 0, 14, 10), (0, 0, 8, 8), (0, 0, 40, 10))
    # the third box is too large for the fine level, the others for the coarse one are too small
    np.testing.assert_array_equal(assigner(points, truth).gt_index, [[1, 0, -1, 2]])
    central = assigners.PointInBoxAssigner([8, 16], [[-1, 16], [16, 1e8]], center_radius=0.25)
    np.testing.assert_array_equal(central(points, truth).gt_index, [[1, -1, -1, -1]])


def test_ranges_must_fit_the_strides():
    with pytest.raises(ValueError, match="one range per level"):
        assigners.PointInBoxAssigner(strides=[8, 16], regress_ranges=[[0, 1]])


def test_the_nearest_point_of_the_right_level_takes_the_object():
    points = tf.constant([[0.0, 0, 8], [8, 0, 8], [0, 0, 16]])
    assigner = assigners.NearestPointAssigner(scale=4)
    truth = targets((-14, -16, 18, 16), (-32, -32, 32, 32), (-16, -16, 17, 16))
    found = assigner(points, truth)
    # sizes of 32, 64 and 33 pixels: levels 8, 16 and 8; of the two that want a point the nearer gets it
    np.testing.assert_array_equal(found.gt_index, [[2, -1, 1]])
    valid = tf.constant([[False, True, True]])
    np.testing.assert_array_equal(assigner(points, truth, valid).gt_index, [[-1, 0, 1]])


def test_atss_takes_the_candidates_above_mean_plus_deviation():
    anchors = tf.constant([[0.0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10], [40, 0, 50, 10]])
    assigner = assigners.ATSSAssigner(topk=3)
    found = assigner(anchors, targets((0, 0, 10, 10)), level_sizes=[4])
    # IoU 1, 0.818, 0.333 of the three nearest: mean 0.717, deviation 0.345, threshold above 1
    assert (found.gt_index.numpy() == -1).all()
    found = assigners.ATSSAssigner(topk=2)(anchors, targets((0, 0, 10, 10)), level_sizes=[3, 1])
    # the far anchor of the second level is a candidate too: 1, 0.818, 0: mean 0.606, deviation 0.533
    assert (found.gt_index.numpy() == -1).all()
    wide = tf.concat([anchors[:1], tf.tile(anchors[3:], [4, 1])], 0)
    found = assigners.ATSSAssigner(topk=5)(wide, targets((0, 0, 10, 10)), level_sizes=[5])
    # 1, 0, 0, 0, 0: mean 0.2, deviation 0.447
    np.testing.assert_array_equal(found.gt_index, [[0, -1, -1, -1, -1]])
    assert found.count_positive() == 1.0


@pytest.mark.parametrize(
    ("assigner", "prior", "kwargs"),
    [
        (assigners.ATSSAssigner(topk=1), [0.0, 0, 8, 8], {"level_sizes": [1]}),
        (assigners.NearestPointAssigner(), [4.0, 4, 8], {}),
        (assigners.PointInBoxAssigner([8], [[-1, 1e8]]), [4.0, 4, 8], {}),
    ],
)
def test_a_image_without_objects_is_background(assigner, prior, kwargs):
    found = assigner(tf.constant([prior]), targets(), **kwargs)
    np.testing.assert_array_equal(found.gt_index, [[-1]])
    np.testing.assert_array_equal(found.weight, [[1.0]])


def test_quality_losses_by_hand():
    logits, soft = tf.constant([[0.0, 0.0]]), tf.constant([[0.8, 0.0]])
    ln2 = np.log(2)
    qfl = losses.QualityFocalLoss().elementwise(logits, soft)
    np.testing.assert_allclose(qfl, [[0.3**2 * ln2, 0.25 * ln2]], rtol=1e-6)
    vfl = losses.VarifocalLoss(alpha=0.75).elementwise(logits, soft)
    np.testing.assert_allclose(vfl, [[0.8 * ln2, 0.75 * 0.25 * ln2]], rtol=1e-6)
    # 1.25 lies between 1 (three quarters) and 2 (one quarter)
    dfl = losses.DistributionFocalLoss().elementwise(tf.math.log([0.1, 0.5, 0.4]), tf.constant(1.25))
    np.testing.assert_allclose(dfl, -0.75 * np.log(0.5) - 0.25 * np.log(0.4), rtol=1e-6)


def test_expectation_of_a_distribution():
    np.testing.assert_allclose(expectation(tf.math.log([[0.5, 0.25, 0.25]])), [0.75], rtol=1e-6)


def test_star_offsets_lead_to_the_corners_of_the_box():
    offsets = tf.reshape(star_offsets(tf.constant([[[[8.0, 16, 24, 32]]]]), 8.0), [3, 3, 2])
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1)
    places = offsets + grid
    np.testing.assert_array_equal(places[0, 0], [-2, -1])  # top, left in cells
    np.testing.assert_array_equal(places[1, 1], [0, 0])
    np.testing.assert_array_equal(places[2, 2], [4, 3])
