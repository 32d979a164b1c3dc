"""CrowdDet's parts: two matches of a region, the loss over both orders, suppression between sets."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import BestTwoAssigner
from kdet.assigners.best_two import Matches
from kdet.coders import DeltaXYWHCoder
from kdet.heads.roi import MultiInstanceBBoxHead
from kdet.losses import CrossEntropyLoss, SmoothL1Loss
from kdet.postprocess import SetNMS
from kdet.postprocess.nms import INVALID_SCORE

BOXES = [[0, 0, 10, 10], [0, 0, 10, 8], [40, 40, 60, 60], [0, 0, 0, 0]]
TARGETS = {
    "boxes": tf.constant([BOXES], tf.float32),
    "labels": tf.constant([[1, 0, 1, -1]]),
    "ignore_boxes": tf.constant([[[70.0, 70, 90, 90], [0, 0, 0, 0]]]),
}


def test_the_two_best_objects_and_ignore_regions():
    priors = tf.constant([[[0.0, 0, 10, 9], [41, 41, 60, 60], [72, 72, 80, 80], [20, 0, 30, 10]]])
    assigner = BestTwoAssigner(0.5)
    found = assigner.matches(priors, TARGETS)
    np.testing.assert_array_equal(found.positive[0], [[1, 1], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(found.gt_index[0, 0], [0, 1])  # IoU 0.9 with the first, 0.89 with the other
    assert found.gt_index[0, 1, 0] == 2
    np.testing.assert_array_equal(found.ignored[0], [[0, 0], [0, 0], [1, 0], [0, 0]])
    assignment = assigner(priors, TARGETS, tf.constant([[True, True, True, False]]))
    np.testing.assert_array_equal(assignment.gt_index[0], [0, 2, -1, -1])
    np.testing.assert_array_equal(assignment.weight[0], [1, 1, 0, 0])


def head(**options):
    return MultiInstanceBBoxHead(
        num_classes=2, coder=DeltaXYWHCoder(), loss_cls=CrossEntropyLoss(), loss_bbox=SmoothL1Loss(),
        fc_units=8, **options,
    )  # fmt: skip


def test_the_loss_is_that_of_the_better_order():
    layer, draw = head(), np.random.default_rng(0)
    scores = draw.normal(size=(2, 6)).astype(np.float32)
    deltas = draw.normal(size=(2, 16)).astype(np.float32)
    rois = tf.constant([[[0.0, 0, 10, 9], [20, 0, 30, 10]]])
    matches = Matches(
        tf.constant([[[0, 1], [0, 0]]]), tf.constant([[[True, True], [False] * 2]]), tf.zeros([1, 2, 2], bool)
    )
    loss = layer.set_loss(scores, deltas, rois, matches, tf.ones([1, 2]), TARGETS)

    def one(region, prediction, label, box):
        logits = scores[region].reshape(2, 3)[prediction]
        value = np.log(np.exp(logits).sum()) - logits[label + 1]
        if label < 0:
            return value
        wanted = layer.coder.encode(rois[0, region], tf.constant(box, tf.float32)).numpy()
        off = np.abs(deltas[region].reshape(2, 2, 4)[prediction, label] - wanted)
        return value + np.where(off < 1, off**2 / 2, off - 0.5).sum()

    pairs = [(1, BOXES[0]), (0, BOXES[1])]
    first = min(one(0, 0, *pairs[0]) + one(0, 1, *pairs[1]), one(0, 1, *pairs[0]) + one(0, 0, *pairs[1]))
    second = one(1, 0, -1, None) + one(1, 1, -1, None)
    np.testing.assert_allclose(loss, (first + second) / 2, rtol=1e-5)
    alone = layer.set_loss(scores, deltas, rois, matches, tf.constant([[1.0, 0.0]]), TARGETS)
    np.testing.assert_allclose(alone, first, rtol=1e-5)


def test_refinement_sees_what_was_predicted():
    layer = head(refine=True)
    outputs = layer(tf.random.stateless_normal([3, 7, 7, 4], [0, 1]))
    assert [x.shape[-1] for x in outputs] == [6, 16, 6, 16]
    assert layer.shared_fcs_ref.kernel.shape == (8 + 4 * (8 + 2), 8)
    chances = layer.probabilities(outputs[2]).numpy().reshape(3, 2, 2)  # class, prediction
    logits = outputs[2].numpy().reshape(3, 2, 3)
    wanted = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(chances, wanted[..., 1:].transpose(0, 2, 1), rtol=1e-5)


def greedy(boxes, scores, labels, threshold):
    """The reference's loop: the best box takes out what overlaps it, but for its own set."""
    kept, order = [], np.argsort(-scores, kind="stable")
    alive = scores > INVALID_SCORE / 2
    for best in order:
        if not alive[best]:
            continue
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[:, :2]), np.minimum(boxes[best, 2:], boxes[:, 2:])
        common = np.maximum(high - low, 0).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        overlap = common / (area[best] + area - common)
        other_set = np.arange(len(boxes)) // 2 != best // 2
        later = ~np.isin(np.arange(len(boxes)), kept)
        alive &= ~((overlap > threshold) & other_set & later & (labels == labels[best]))
    return sorted(kept)


@pytest.mark.parametrize("seed", [0, 1])
def test_suppression_spares_the_own_set(seed):
    draw = np.random.default_rng(seed)
    corners = draw.uniform(0, 40, (2, 60, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(8, 30, (2, 60, 2))], -1).astype(np.float32)
    scores = np.where(draw.random((2, 60)) < 0.2, INVALID_SCORE, draw.random((2, 60))).astype(np.float32)
    labels = draw.integers(0, 2, (2, 30)).repeat(2, 1).astype(np.int32)
    found, rows = SetNMS(0.3)(tf.constant(boxes), tf.constant(scores), tf.constant(labels), 80)
    few, _ = SetNMS(0.3)(tf.constant(boxes), tf.constant(scores), tf.constant(labels), 5)
    for i in range(2):
        wanted = greedy(boxes[i], scores[i], labels[i], 0.3)
        count = int(found["num_detections"][i])
        assert sorted(rows[i, :count].numpy()) == wanted and 5 < count < 60
        assert (np.diff(found["scores"][i, :count]) <= 0).all()
        assert (found["labels"][i, count:] == -1).numpy().all()
        np.testing.assert_allclose(few["scores"][i], np.sort(scores[i][wanted[:5]])[::-1])  # the first rows
