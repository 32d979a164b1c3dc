"""Noised queries on cases that can be checked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.heads.query import ContrastiveDenoising, NoiseDraws

INFO = {"valid_size": tf.constant([[50.0, 100.0], [50.0, 100.0]]), "seed": tf.constant([3, 4])}


@pytest.fixture
def targets():
    """Two objects in image 0, one in image 1, whose row stands behind padding."""
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, 0], boxes[0, 1], boxes[1, 2] = [10, 10, 30, 20], [50, 20, 90, 40], [0, 0, 20, 20]
    return {"boxes": tf.constant(boxes), "labels": tf.constant([[5, 6, -1], [-1, -1, 7]])}


def noise(slots, **given):
    """Draws that change nothing, but for those given."""
    values = {
        "flips": tf.ones([2, slots]),
        "labels": tf.zeros([2, slots], tf.int32),
        "signs": tf.ones([2, slots, 4]),
        "sizes": tf.zeros([2, slots, 4]),
    }
    return NoiseDraws(**{**values, **given})


def test_layout(targets):
    found = ContrastiveDenoising(num_queries=5)(targets, INFO, 10, noise(10))
    # two groups of two positives and two negatives; the last two slots are left over
    assert found.group.numpy().tolist() == [0] * 4 + [1] * 4 + [-1] * 2
    assert found.labels.numpy().tolist() == [[5, 6] * 4 + [-1] * 2, [7, -1] * 4 + [-1] * 2]
    assert found.assignment.gt_index.numpy().tolist() == [
        [0, 1, -1, -1] * 2 + [-1] * 2,
        [2, -1, -1, -1] * 2 + [-1] * 2,
    ]
    assert found.assignment.weight.numpy().tolist() == [[1.0] * 8 + [0.0] * 2] * 2
    assert (found.real.numpy() == (found.labels.numpy() >= 0)).all()


def test_boxes_move_by_their_size(targets):
    sizes = np.zeros((2, 10, 4), np.float32)
    sizes[0, 0] = [0.5, 0.0, 0.0, 0.5]
    signs = np.ones((2, 10, 4), np.float32)
    signs[0, 2:4] = [-1.0, 1.0, 1.0, -1.0]
    boxes = ContrastiveDenoising(num_queries=5)(targets, INFO, 10, noise(10, sizes=sizes, signs=signs)).boxes
    boxes = boxes.numpy() * [100, 50, 100, 50]
    # the positive's left moves by 0.5 of half the width, its bottom by 0.5 of half the height
    np.testing.assert_allclose(boxes[0, 0], [22.5, 16.25, 15, 12.5], rtol=1e-5)
    np.testing.assert_allclose(boxes[0, 1], [70, 30, 40, 20], rtol=1e-5)
    # negatives move by half of their size at least, and not over the border of the image
    np.testing.assert_allclose(boxes[0, 2], [20, 15, 40, 0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(boxes[0, 3], [65, 30, 70, 0], rtol=1e-5, atol=1e-4)
    assert not boxes[1, 1].any() and not boxes[:, 8:].any()


def test_labels_flip(targets):
    flips = np.ones((2, 10), np.float32)
    flips[0, :2], flips[1, 1] = [0.3, 0.2], 0.0
    found = ContrastiveDenoising(num_queries=5, flip_probability=0.25)(
        targets, INFO, 10, noise(10, flips=flips, labels=tf.fill([2, 10], 9))
    )
    assert found.labels[0, :4].numpy().tolist() == [5, 9, 5, 6]
    assert found.labels[1, :2].numpy().tolist() == [7, -1]  # padding stays padding


def test_who_sees_whom(targets):
    seen = ContrastiveDenoising(num_queries=5)(targets, INFO, 10, noise(10)).visible(3)[0].numpy()
    assert seen.shape == (13, 13)
    assert seen[:, 10:].all()  # all see the matching queries
    assert not seen[10:, :10].any()  # which see no others
    assert seen[:4, :4].all() and seen[4:8, 4:8].all()
    assert not seen[:4, 4:10].any() and not seen[4:8, :4].any() and not seen[:8, 8:10].any()


@pytest.mark.parametrize(("num_queries", "slots", "groups"), [(1, 6, 1), (2, 6, 1), (4, 8, 2)])
def test_at_least_one_group(targets, num_queries, slots, groups):
    found = ContrastiveDenoising(num_queries=num_queries)(targets, INFO, 10)
    assert found.labels.shape == (2, slots)
    assert int(tf.reduce_max(found.group)) + 1 == groups


def test_images_without_objects(targets):
    empty = {**targets, "labels": tf.fill([2, 3], -1)}
    found = ContrastiveDenoising(num_queries=4)(empty, INFO, 10)
    assert not found.real.numpy().any() and not found.assignment.weight.numpy().any()
    assert found.visible(2).numpy()[0, :, 8:].all() and not found.visible(2).numpy()[0, 8:, :8].any()


def test_an_object_whose_box_is_nan_is_none(targets):
    boxes = targets["boxes"].numpy()
    boxes[0, 0, 1] = np.nan
    found = ContrastiveDenoising(num_queries=4)({**targets, "boxes": tf.constant(boxes)}, INFO, 10)
    assert found.assignment.gt_index[0, 0] == 1
    assert np.isfinite(found.boxes.numpy()).all()


def test_draws_of_the_seed(targets):
    rule = ContrastiveDenoising(num_queries=600)
    drawn = rule.draw(INFO["seed"], 2, 1200, 10)
    assert set(np.unique(drawn.signs)) == {-1.0, 1.0} and 0.45 < np.mean(drawn.signs.numpy() > 0) < 0.55
    assert set(np.unique(drawn.labels)) == set(range(10))
    assert 0 <= np.min(drawn.sizes) and np.max(drawn.sizes) < 1
    found, again = rule(targets, INFO, 10), rule(targets, INFO, 10)
    assert (found.boxes.numpy() == again.boxes.numpy()).all()
    other = rule(targets, {**INFO, "seed": tf.constant([3, 5])}, 10)
    assert (found.boxes.numpy() != other.boxes.numpy()).any()
    changed = found.labels.numpy()[0, :1200].reshape(-1, 2) != [5, 6]
    assert 0.18 < changed.mean() < 0.27  # a tenth of a quarter of the labels changes into itself


def test_padding_of_unknown_length(targets):
    rule = ContrastiveDenoising(num_queries=5)
    spec = {
        "boxes": tf.TensorSpec([2, None, 4], tf.float32),
        "labels": tf.TensorSpec([2, None], tf.int32),
    }
    found = tf.function(lambda targets: rule(targets, INFO, 10), input_signature=[spec])(targets)
    assert (found.labels.numpy() == rule(targets, INFO, 10).labels.numpy()).all()
