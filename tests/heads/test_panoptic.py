"""Panoptic segments: both fusions against plain loops over the segments."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.heads.mask import HeuristicFusion, MaskQueries, StuffHead
from kdet.heads.mask.panoptic import numbered

THINGS, STUFF = 3, 2


def fused_by_loops(probabilities, masks, rule):
    """``[(label, mask), ...]`` of the segments, in the order of the queries (MaskFormer, section 3.4)."""
    labels, scores = probabilities.argmax(-1), probabilities.max(-1)
    kept = [q for q in range(len(labels)) if labels[q] < THINGS + STUFF and scores[q] > rule.object_threshold]
    if not kept:
        return []
    winner = np.array(kept)[(scores[kept] * masks[..., kept]).argmax(-1)]
    segments = []
    for q in kept:
        own, claimed = winner == q, masks[..., q] >= 0.5
        if not own.any() or not claimed.any() or own.sum() / claimed.sum() < rule.overlap_threshold:
            continue
        own = own & claimed if rule.drop_unsure else own
        same = [s for s in segments if s[0] == labels[q] and labels[q] >= THINGS]
        if same:
            same[0][1][own] = True
        elif own.any():
            segments.append((labels[q], own.copy()))
    return segments


@pytest.mark.parametrize("drop_unsure", [True, False])
def test_queries_become_segments(drop_unsure):
    draw = np.random.default_rng(1)
    rule = MaskQueries(object_threshold=0.5, overlap_threshold=0.4, drop_unsure=drop_unsure)
    seen = 0
    for _ in range(5):
        logits = draw.normal(0, 3, (12, THINGS + STUFF + 1)).astype(np.float32)
        probabilities = tf.nn.softmax(logits).numpy()
        masks = np.kron(draw.random((5, 4, 12)), np.ones((3, 3, 1))).astype(np.float32)
        found = rule.fuse(tf.constant(probabilities), tf.constant(masks), THINGS)
        wanted = fused_by_loops(probabilities, masks, rule)
        seen += len(wanted)
        assert found.labels.numpy()[: len(wanted)].tolist() == [label for label, _ in wanted]
        assert (found.labels.numpy()[len(wanted) :] == -1).all() and found.labels.shape == (12,)
        covered = np.zeros(found.panoptic.shape, bool)
        for row, (_, mask) in enumerate(wanted):
            np.testing.assert_array_equal(found.panoptic == row + 1, mask)
            assert int(found.areas[row]) == mask.sum()
            covered |= mask
        np.testing.assert_array_equal(found.panoptic == 0, ~covered)
    assert seen > 10


def test_stuff_of_one_class_is_one_segment():
    owner = tf.constant([[0, 0, 1], [2, -1, 3]])
    found = numbered(
        owner,
        tf.constant([4, 1, 4, 4, 0]),
        tf.constant([0.6, 0.9, 0.8, 0.7, 0.5]),
        tf.constant([True, False, True, True, False]),
    )
    np.testing.assert_array_equal(found.panoptic, [[1, 1, 2], [1, 0, 1]])
    assert found.labels.numpy().tolist() == [4, 1, -1, -1, -1] and found.areas.numpy()[:2].tolist() == [4, 1]
    np.testing.assert_allclose(found.scores, [0.8, 0.9, 0, 0, 0])


def test_nothing_found_is_all_void():
    probabilities = tf.one_hot([5, 5], 6)
    found = MaskQueries().fuse(probabilities, tf.ones([4, 3, 2]), THINGS)
    assert not found.panoptic.numpy().any() and (found.labels.numpy() == -1).all()


def test_instances_are_the_best_things_by_class_and_mask():
    logits = tf.math.log(
        tf.constant([[[0.6, 0.3, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1], [0.05, 0.05, 0.1, 0.8]]])
    )  # two things, one kind of stuff, none
    masks = np.full((1, 4, 4, 3), -9.0, np.float32)
    masks[0, :2, :2, 0] = 9.0
    masks[0, 2:, :, 1] = 9.0
    info = {"original_size": tf.constant([[8.0, 8.0]]), "valid_size": tf.constant([[8.0, 8.0]])}
    rule = MaskQueries(panoptic=False, max_per_image=3)
    found = rule(logits, tf.constant(masks), info, tf.constant([8, 8]), num_stuff=1)
    # the best three are stuff of query 1 and both things of query 0
    assert int(found["num_detections"][0]) == 2 and set(found) == {
        "boxes", "scores", "labels", "num_detections", "masks"
    }  # fmt: skip
    assert found["labels"][0].numpy().tolist() == [0, 1, -1]
    np.testing.assert_array_equal(found["boxes"][0, :2], [[0, 0, 4, 4]] * 2)
    assert 0.55 < float(found["scores"][0, 0]) < 0.6 and float(found["scores"][0, 2]) == 0.0


def test_instances_lie_over_stuff():
    boxes = tf.constant([[[0.0, 0, 4, 4], [0, 0, 4, 3], [4, 4, 8, 8], [0, 0, 0, 0]]])
    detections = {
        "boxes": boxes,
        "masks": tf.ones([1, 4, 2, 2]),
        "labels": tf.constant([[2, 1, 0, -1]]),
        "scores": tf.constant([[0.9, 0.8, 0.7, 0.0]]),
    }
    semantic = np.zeros((1, 2, 2, STUFF + 1), np.float32)
    semantic[0, :, 0, 0], semantic[0, 0, 1, 1], semantic[0, 1, 1, 2] = 9.0, 9.0, 9.0  # left, top right, thing
    info = {"original_size": tf.constant([[8.0, 8.0]]), "valid_size": tf.constant([[8.0, 8.0]])}
    rule = HeuristicFusion(overlap_threshold=0.5, stuff_area_limit=16)
    found = rule(detections, tf.constant(semantic), info, tf.constant([8, 8]), THINGS)
    # the second box lies under the first and goes; stuff 0 has the lower left, stuff 1 the upper right
    assert found.labels[0].numpy()[:5].tolist() == [2, 0, 3, 4, -1]
    panoptic = found.panoptic[0].numpy()
    assert (panoptic[:4, :4] == 1).all() and (panoptic[4:, 4:] == 2).all()
    assert (panoptic[5:, :3] == 3).all() and (panoptic[:3, 5:] == 4).all()
    assert found.areas[0].numpy()[:2].tolist() == [16, 16]
    smaller = HeuristicFusion(stuff_area_limit=30)(
        detections, tf.constant(semantic), info, tf.constant([8, 8]), 3
    )
    assert smaller.labels[0].numpy()[:3].tolist() == [2, 0, -1]


def test_things_are_one_class_of_the_semantic_branch():
    head = StuffHead(num_stuff=STUFF, filters=32, num_levels=1)
    outputs = head((tf.zeros([1, 4, 4, 8]),))
    logits = np.full((1, 4, 4, STUFF + 1), -20.0, np.float32)
    labels = np.int32([[0, 2, 3, 4], [255, 1, 4, 3], [3, 3, 3, 3], [0, 0, 0, 0]])[None]
    for row in range(4):
        for column in range(4):
            label = labels[0, row, column]
            logits[0, row, column, 2 if label < THINGS or label == 255 else label - THINGS] = 20.0
    found = head.compute_losses({**outputs, "seg_preds": tf.constant(logits)}, {"semantic": labels}, THINGS)
    assert float(found["loss_seg"]) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(KeyError, match="semantic"):
        head.compute_losses(outputs, {}, THINGS)
