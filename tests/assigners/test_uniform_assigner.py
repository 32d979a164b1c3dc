import numpy as np
import tensorflow as tf

from kdet.assigners.uniform import UniformAssigner


def squares(*centers_and_sides):
    """Boxes ``[N,4]`` of (x, y, side)."""
    return np.float32([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in centers_and_sides])


GRID = squares(*[(x, y, 16) for y in (0, 10, 20, 30) for x in (0, 10, 20, 30)])  # row 4 * y + x
FAR = GRID + 1000.0


def match(objects, predictions=FAR, labels=None, **kwargs):
    labels = [0] * len(objects) if labels is None else labels
    targets = {"boxes": tf.constant(objects[None]), "labels": tf.constant([labels])}
    kwargs = {"match_times": 2, **kwargs}
    return UniformAssigner(**kwargs).match(tf.constant(GRID), targets, None, tf.constant(predictions[None]))


def test_nearest_anchors_and_nearest_predictions_belong_to_the_object():
    predictions = FAR.copy()
    predictions[[14, 15]] = squares((12, 11, 16), (13, 11, 16))
    assignment, rows, counted = match(squares((12, 11, 16)), predictions, pos_ignore_iou=0.0)
    assert rows.numpy()[0, :, 0].tolist() == [14, 5, 15, 6]  # prediction, anchor, prediction, anchor
    assert counted.numpy().all()
    assert np.flatnonzero(assignment.gt_index.numpy()[0] >= 0).tolist() == [5, 6, 14, 15]
    assert assignment.weight.numpy().all()


def test_matches_whose_anchor_overlaps_little_take_no_part():
    predictions = FAR.copy()
    predictions[[14, 15]] = squares((12, 11, 16), (13, 11, 16))
    assignment, _, counted = match(squares((12, 11, 16)), predictions)
    assert counted.numpy()[0, :, 0].tolist() == [False, True, False, True]
    assert np.flatnonzero(assignment.weight.numpy()[0] == 0).tolist() == [14, 15]
    assert np.flatnonzero(assignment.positive.numpy()[0]).tolist() == [5, 6]


def test_background_that_predicts_an_object_takes_no_part():
    predictions = FAR.copy()
    predictions[[3, 14, 15]] = squares((12, 12.5, 16), (12, 11, 16), (13, 11, 16))
    assignment, _, _ = match(squares((12, 11, 16)), predictions)
    assert assignment.weight.numpy()[0, 3] == 0 and assignment.weight.numpy()[0, 2] == 1


def test_of_two_claims_the_later_object_wins_and_padding_claims_nothing():
    objects = squares((11, 11, 16), (12, 11, 16), (11, 11, 16))
    assignment, _, counted = match(objects, labels=[3, 4, -1])
    index = assignment.gt_index.numpy()[0]
    assert index[5] == 1 and 2 not in index
    assert not counted.numpy()[0, :, 2].any()


def test_of_equally_near_anchors_those_of_torch_topk_are_taken():
    """Recorded from ``torch.topk`` on the L1 distances of these grids: of the cells above (6) and to the left
    (9) the left one, and the order of all."""
    _, rows, _ = match(squares((21, 21, 16)), match_times=4)
    assert rows.numpy()[0, 1::2, 0].tolist() == [10, 14, 11, 9]
    large = squares(*[(x, y, 16) for y in range(0, 160, 10) for x in range(0, 160, 10)])
    targets = {"boxes": tf.constant(squares((21, 21, 16))[None]), "labels": tf.constant([[0]])}
    _, rows, _ = UniformAssigner(4).match(
        tf.constant(large), targets, None, tf.constant(large[None] + 1000.0)
    )
    assert rows.numpy()[0, 1::2, 0].tolist() == [34, 50, 35, 33]
