"""Heat maps, corners and prototypes."""

import numpy as np
import tensorflow as tf

from kdet.heads.keypoint.heatmaps import gaussian_heatmap, gaussian_radius, last_of_its_place, top_peaks
from kdet.heads.mask import PrototypeMaskHead
from kdet.losses import AssociativeEmbeddingLoss, GaussianFocalLoss
from kdet.ops import resize_masks


def test_gaussian_radius_keeps_the_overlap():
    radius = float(gaussian_radius(10, 20, 0.3))
    # the binding case here: both corners move inwards by the radius
    assert abs((10 - 2 * radius) * (20 - 2 * radius) / 200 - 0.3) < 1e-6


def test_gaussian_heatmap_keeps_the_higher_peak_of_each_class():
    centers = tf.constant([[[1, 2], [3, 2], [0, 0]]])
    heat = gaussian_heatmap(centers, tf.constant([[2, 2, 1]]), tf.constant([[1, 1, -1]]), (5, 6), 2).numpy()
    assert heat.shape == (1, 5, 6, 2) and heat[..., 0].max() == 0
    sigma = 5 / 6
    row = [np.exp(-(min(abs(x - 1), abs(x - 3)) ** 2) / (2 * sigma**2)) for x in range(6)]
    np.testing.assert_allclose(heat[0, 2, :, 1], row, rtol=1e-5)
    assert (heat == 1).sum() == 2


def test_top_peaks_are_local_maxima():
    heat = np.zeros((1, 4, 5, 2), np.float32)
    heat[0, 1, 1, 0], heat[0, 1, 2, 0], heat[0, 3, 4, 1] = 0.9, 0.8, 0.5
    scores, labels, cells = (x.numpy()[0].tolist() for x in top_peaks(tf.constant(heat), 3, 2))
    np.testing.assert_allclose(scores, [0.9, 0.5], rtol=1e-6)
    assert labels == [0, 1] and cells == [1 * 5 + 1, 3 * 5 + 4]


def test_the_last_object_of_a_place_counts():
    real = tf.constant([[True, True, True, False]])
    assert last_of_its_place(tf.constant([[7, 3, 7, 3]]), real).numpy().tolist() == [
        [False, True, True, False]
    ]


def test_gaussian_focal_loss_by_hand():
    loss = GaussianFocalLoss()(tf.constant([0.5, 0.5]), tf.constant([1.0, 0.5]), avg_factor=1.0)
    np.testing.assert_allclose(loss, np.log(2) * 0.25 * (1 + 0.5**4), rtol=1e-5)


def test_embeddings_are_pulled_within_and_pushed_between_objects():
    first, second = tf.constant([[[0.0], [1.0], [9.0]]]), tf.constant([[[0.4], [1.0], [9.0]]])
    pull, push = AssociativeEmbeddingLoss(1.0, 1.0)(first, second, tf.constant([[True, True, False]]))
    np.testing.assert_allclose(pull, 2 * 0.2**2 / 2, rtol=1e-5)
    np.testing.assert_allclose(push, 1 - 0.8, rtol=1e-5)
    empty = AssociativeEmbeddingLoss()(first, second, tf.zeros([1, 3], bool))
    assert [float(x) for x in empty] == [0.0, 0.0]


def test_masks_are_cut_a_cell_around_their_box():
    head = PrototypeMaskHead(num_protos=1)
    prototypes, coefficients = tf.fill([1, 4, 4, 1], 5.0), tf.constant([[[1.0], [0.0]]])
    boxes = tf.constant([[[16.0, 0.0, 24.0, 8.0], [0.0, 0.0, 32.0, 32.0]]])
    masks = head.assemble(prototypes, coefficients, boxes, tf.constant([[32.0, 32.0]])).numpy()[0]
    inside = np.zeros((4, 4))
    inside[:2, 1:] = 1
    np.testing.assert_allclose(masks[0], inside / (1 + np.exp(-5.0)), rtol=1e-5)
    np.testing.assert_allclose(masks[1], np.full((4, 4), 0.5), rtol=1e-6)


def test_resized_masks_equal_a_bilinear_resize():
    masks = (np.random.default_rng(0).random((1, 2, 11, 13)) > 0.5).astype(np.uint8)
    packed = tf.constant(np.packbits(masks, axis=-1))
    wanted = tf.image.resize(masks[0, ..., None].astype(np.float32), (4, 5))[..., 0]
    np.testing.assert_allclose(resize_masks(packed, (11, 13), (4, 5))[0], wanted, atol=1e-5)
