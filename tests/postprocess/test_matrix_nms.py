"""Matrix NMS against its definition, pair by pair."""

import numpy as np
import tensorflow as tf

from kdet.postprocess import MatrixNMS


def by_definition(masks, scores, labels, sigma):
    """Scores after the suppression of masks ``[K,n]`` bool, best first."""
    count = len(scores)
    iou = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            if labels[i] == labels[j]:
                iou[j, i] = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
    decayed = []
    for i in range(count):
        factors = [np.exp(-sigma * iou[j, i] ** 2) / np.exp(-sigma * iou[:, j].max() ** 2) for j in range(i)]
        decayed.append(scores[i] * min([1.0, *factors]))
    return np.array(decayed)


def test_scores_decay_by_overlaps_of_their_class():
    draw = np.random.default_rng(0)
    masks = draw.random((2, 9, 6, 5)) > 0.4
    scores = np.sort(draw.uniform(0.2, 1.0, (2, 9)))[:, ::-1].astype(np.float32)
    labels = draw.integers(0, 3, (2, 9))
    rule = MatrixNMS(max_per_image=12, filter_threshold=0.3, sigma=2.0)
    rows, kept, count = rule(
        tf.constant(masks, tf.float32), tf.constant(scores), tf.constant(labels, tf.int32)
    )
    for image in range(2):
        wanted = by_definition(masks[image].reshape(9, -1), scores[image], labels[image], 2.0)
        assert (wanted < scores[image] - 1e-3).any()
        order = [i for i in np.argsort(-wanted, kind="stable") if wanted[i] >= 0.3]
        assert count[image] == len(order)
        np.testing.assert_array_equal(rows[image, : len(order)], order)
        np.testing.assert_allclose(kept[image, : len(order)], wanted[order], rtol=1e-5)
        assert not kept[image, len(order) :].numpy().any()


def test_only_the_best_compete():
    masks = tf.ones([1, 3, 2, 2])
    rows, scores, count = MatrixNMS(nms_pre=2, filter_threshold=0.0, max_per_image=3)(
        masks, tf.constant([[0.5, 0.9, 0.7]]), tf.constant([[0, 1, 2]])
    )
    assert rows[0, :2].numpy().tolist() == [1, 2] and count[0] == 2
    np.testing.assert_allclose(scores[0], [0.9, 0.7, 0.0])
