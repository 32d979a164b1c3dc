"""SSD, YOLO and PISA: what their heads do that others do not."""

import numpy as np
import tensorflow as tf

from kdet.assigners import GridAssigner
from kdet.coders import DeltaXYWHCoder, LegacyDeltaXYWHCoder, YOLOCoder
from kdet.contract import Assignment
from kdet.heads.dense.ssd import SoftmaxAnchorHead
from kdet.necks.ssd_neck import L2Norm
from kdet.priors import LegacySSDAnchorGenerator, SSDAnchorGenerator, YOLOAnchorGenerator


def test_default_boxes_are_two_squares_and_two_shapes_per_ratio():
    generator = SSDAnchorGenerator(strides=[8, 16], ratios=[[2], [2, 3]], sizes=[20, 45, 80])
    assert generator.num_anchors == [4, 6]
    first = generator.base_anchors[0]
    np.testing.assert_allclose((first[:, :2] + first[:, 2:]) / 2, np.full((4, 2), 4.0), rtol=1e-6)
    wide, tall = 20 * 2**0.5, 20 / 2**0.5
    sizes = [[20, 20], [30, 30], [wide, tall], [tall, wide]]
    np.testing.assert_allclose(first[:, 2:] - first[:, :2], sizes, rtol=1e-6)
    anchors = generator([(2, 2), (1, 1)])
    assert [len(a) for a in anchors] == [16, 6]
    assert generator.valid([(2, 2), (1, 1)], tf.constant([[8.0, 16.0]])).numpy().sum() == 8 + 6


def test_legacy_default_boxes_are_whole_pixels():
    base = LegacySSDAnchorGenerator(strides=[8], ratios=[[2]], sizes=[21, 45]).base_anchors[0]
    np.testing.assert_array_equal(base, np.round(base))
    np.testing.assert_array_equal(base[0], [-6, -6, 14, 14])  # 21 pixels around 3.5, to even


def test_legacy_coder_counts_the_last_pixel():
    coder = LegacyDeltaXYWHCoder()
    priors, boxes = tf.constant([[0.0, 0.0, 9.0, 9.0]]), tf.constant([[0.0, 0.0, 19.0, 9.0]])
    deltas = coder.encode(priors, boxes).numpy()
    np.testing.assert_allclose(deltas, [[0.5, 0.0, np.log(2.0), 0.0]], atol=1e-6)
    cut = coder.decode(priors, tf.constant([[[0.0, 0.0, 9.0, 0.0]]]), tf.constant([[8.0, 8.0]]))
    np.testing.assert_allclose(cut[0, 0], [0.0, 0.0, 7.0, 7.0], atol=1e-5)


def test_l2_norm_of_an_empty_pixel_has_a_finite_gradient():
    layer = L2Norm(scale=20.0)
    x = tf.constant([[[[3.0, 4.0], [0.0, 0.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y[0, 0], [[12.0, 16.0], [0.0, 0.0]], rtol=1e-6)
    assert np.isfinite(tape.gradient(y, x)).all()


def mining_head(**kwargs):
    generator = YOLOAnchorGenerator([8], [[[8, 8]]])
    return SoftmaxAnchorHead(2, generator, DeltaXYWHCoder(), None, None, None, **kwargs)


def test_only_the_hardest_negatives_of_a_image_count():
    losses = tf.constant([[1.0, 5.0, 2.0, 4.0, 9.0], [1.0, 5.0, 2.0, 4.0, 9.0]])
    # the last anchor of each image is ignored; the second image has no positive
    index = tf.constant([[0, -1, -1, -1, -1], [-1, -1, -1, -1, -1]])
    assignment = Assignment(index, tf.constant([[1.0, 1.0, 1.0, 1.0, 0.0]] * 2))
    assert mining_head(neg_pos_ratio=2).mined_loss(losses, assignment) == 1 + 5 + 4
    everything = mining_head(neg_pos_ratio=2, all_negatives_without_objects=True)
    assert everything.mined_loss(losses, assignment) == 1 + 5 + 4 + (1 + 5 + 2 + 4)


def test_yolo_coder_round_trip():
    priors = tf.constant([[0.0, 0.0, 32.0, 16.0]])
    boxes, stride = tf.constant([[4.0, 2.0, 20.0, 22.0]]), tf.constant([[16.0]])
    encoded = YOLOCoder().encode(priors, boxes, stride).numpy()
    np.testing.assert_allclose(encoded, [[0.25, 0.75, np.log(0.5), np.log(1.25)]], atol=1e-6)
    share = encoded[:, :2]
    logits = np.concatenate([np.log(share / (1 - share)), encoded[:, 2:]], -1)
    np.testing.assert_allclose(YOLOCoder().decode(priors, tf.constant(logits), stride), boxes, rtol=1e-5)


def test_grid_assigner_takes_positives_from_responsible_cells_only():
    priors = tf.constant([[0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0], [40.0, 0.0, 50.0, 10.0]])
    targets = {
        "boxes": tf.constant([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.0, 0.0]]]),
        "labels": tf.constant([[3, -1]]),
    }
    responsible = tf.constant([[False, True, False]])
    found = GridAssigner()(priors, targets, responsible)
    # the first overlaps the object entirely but is not responsible: neither positive nor negative
    assert found.gt_index.numpy().tolist() == [[-1, 0, -1]]
    assert found.weight.numpy().tolist() == [[0.0, 1.0, 1.0]]
    nothing = {**targets, "labels": tf.constant([[-1, -1]])}
    found = GridAssigner()(priors, nothing, tf.zeros([1, 3], bool))
    assert found.gt_index.numpy().tolist() == [[-1] * 3] and found.weight.numpy().tolist() == [[1.0] * 3]
