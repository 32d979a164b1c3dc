"""Matching and losses of mask queries on small cases."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import MaskHungarianAssigner
from kdet.assigners.hungarian import cheapest
from kdet.heads.query import PointMaskCriterion
from kdet.heads.query.mask_criterion import DenseMaskCriterion, with_stuff
from kdet.losses import CrossEntropyLoss, DiceLoss, FocalLoss


@pytest.fixture
def targets():
    masks = np.zeros((2, 2, 16, 16), np.uint8)
    masks[0, 0, :8], masks[0, 1, 8:, :4] = 1, 1
    masks[1, 0, 4:12, 4:12] = 1
    return {
        "labels": tf.constant([[1, 0], [1, -1]]),
        "boxes": tf.zeros([2, 2, 4]),
        "masks": tf.constant(np.packbits(masks, axis=-1)),
    }


def perfect(targets, order):
    """Logits and masks of three queries that say what the targets are, in another order."""
    masks = np.unpackbits(targets["masks"].numpy(), axis=-1) * 18.0 - 9.0
    maps, logits = np.full((2, 16, 16, 3), -9.0, np.float32), np.zeros((2, 3, 3), np.float32)
    logits[..., 2] = 20.0
    for image in range(2):
        for row, query in enumerate(order[image]):
            label = int(targets["labels"][image, row])
            if label >= 0:
                maps[image, ..., query], logits[image, query] = masks[image, row], 0.0
                logits[image, query, label] = 20.0
    return tf.constant(logits), tf.constant(maps)


def criterion(kind, **arguments):
    focal = kind is DenseMaskCriterion
    return kind(
        assigner=MaskHungarianAssigner(focal=focal),
        loss_cls=CrossEntropyLoss(),
        loss_mask=FocalLoss() if focal else CrossEntropyLoss(use_sigmoid=True),
        loss_dice=DiceLoss(squared=False, epsilon=1.0),
        **arguments,
    )


@pytest.mark.parametrize(
    # between two pixels the logits' way from -9 to 9 is not that of the mask from 0 to 1
    ("kind", "more", "limit"),
    [(PointMaskCriterion, {"num_points": 64}, 0.4), (DenseMaskCriterion, {}, 0.02)],
)
def test_perfect_queries_lose_little_and_others_more(targets, kind, more, limit):
    rule, seed = criterion(kind, **more), tf.constant([0, 1])
    logits, masks = perfect(targets, [[2, 0], [1, 0]])
    good, bad = rule([logits, logits], [masks, -masks], targets, (16, 16), seed)
    assert set(good) == {"loss_cls", "loss_mask", "loss_dice"}
    assert all(float(value) < limit for value in good.values()), good
    assert all(float(bad[key]) > 2 * float(good[key]) for key in ("loss_mask", "loss_dice")), bad
    assert float(bad["loss_dice"]) > 0.3 and float(bad["loss_mask"]) > 0.1


def test_an_image_without_objects(targets):
    empty = {**targets, "labels": tf.fill([2, 2], -1)}
    logits, masks = perfect(empty, [[0, 1], [0, 1]])
    with tf.GradientTape() as tape:
        tape.watch(masks)
        (found,) = criterion(PointMaskCriterion, num_points=16)([logits], [masks], empty, (16, 16), [0, 0])
        total = tf.add_n(list(found.values()))
    assert float(found["loss_mask"]) == float(found["loss_dice"]) == 0.0
    assert not tape.gradient(total, masks).numpy().any()


def test_points_go_where_the_prediction_is_unsure():
    rule = criterion(PointMaskCriterion, num_points=200, oversample=4.0, importance=0.25)
    maps = np.full((1, 8, 8, 1), 9.0, np.float32)
    maps[0, :, 4:] = -9.0  # unsure around the middle column
    points = rule.uncertain_points(0, tf.constant(maps), tf.constant([1, 1]), tf.constant([0, 3]))
    assert points.shape == (1, 1, 200, 2)
    x, y = points[0, 0].numpy().T
    # between the two pixels, and at the rim, where the zeros around the map begin
    unsure = (np.abs(x - 0.5) < 0.0626) | (np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < 0.0626)
    assert unsure[:50].all() and 0.1 < unsure[50:].mean() < 0.6


def test_the_cheapest_matching_leaves_padding_out():
    cost = tf.constant([[[[5.0, 1.0, -9.0], [1.0, 5.0, -9.0], [4.0, 4.0, -9.0]]]])
    (found,) = cheapest(cost, tf.constant([[True, True, False]]))
    assert found.gt_index.numpy().tolist() == [[1, 0, -1]]


def test_stuff_stands_behind_things(targets):
    semantic = np.full((2, 4, 4), 255, np.int32)
    semantic[0, :2], semantic[0, 2:, :2], semantic[1] = 2, 3, 1
    found = with_stuff({**targets, "semantic": tf.constant(semantic)}, (16, 16), 2, 2)
    assert found["labels"].numpy().tolist() == [[1, 0, 2, 3], [1, -1, -1, -1]]
    masks = np.unpackbits(found["masks"].numpy(), axis=-1)
    assert masks[0, 2].sum() == 128 and masks[0, 3, 8:, :8].all() and masks[0, 3].sum() == 64
    assert not masks[1, 2:].any()
    with pytest.raises(KeyError, match="semantic"):
        with_stuff(targets, (16, 16), 2, 2)
    with pytest.raises(KeyError, match="data.train.masks: true"):
        with_stuff({"labels": targets["labels"]}, (16, 16), 2, 0)
