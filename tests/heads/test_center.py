"""CenterNet's targets, peaks and neck."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import losses
from kdet.detectors.preprocessor import Preprocessor
from kdet.heads.keypoint import CenterNetHead
from kdet.layers import UpsamplingConv2D
from kdet.postprocess import PostProcess


@pytest.fixture(scope="module")
def head():
    return CenterNetHead(
        num_classes=2,
        loss_center_heatmap=losses.GaussianFocalLoss(),
        loss_wh=losses.L1Loss(),
        loss_offset=losses.L1Loss(),
        filters=4,
        postprocess=PostProcess(score_threshold=0.0, max_per_image=3),
    )


def maps(peaks, size=(4, 6)):
    """Heat, sizes and offsets, zero but for ``{(y, x, class): (score, (w, h), (dx, dy))}``."""
    heat, sizes, offsets = (np.zeros((1, *size, 2), np.float32) for _ in range(3))
    for (y, x, label), (score, wh, shift) in peaks.items():
        heat[0, y, x, label], sizes[0, y, x], offsets[0, y, x] = score, wh, shift
    return tuple((tf.constant(one),) for one in (heat, sizes, offsets))


def test_peaks_become_boxes(head):
    outputs = maps(
        {
            (1, 2, 1): (0.9, (2, 1), (0.5, 0.25)),
            (1, 3, 1): (0.8, (9, 9), (0, 0)),
            (3, 5, 0): (0.7, (2, 2), (0, 0)),
        }
    )
    info = {"scale": tf.constant([[2.0, 1.0]]), "valid_size": tf.constant([[16.0, 24.0]])}
    found = head.decode(outputs, info)
    # the second is beside a higher one; the center at (2.5, 1.25) cells of four pixels
    assert found["num_detections"].numpy().tolist() == [2]
    np.testing.assert_allclose(found["scores"], [[0.9, 0.7, 0.0]])
    np.testing.assert_array_equal(found["labels"], [[1, 0, -1]])
    np.testing.assert_allclose(found["boxes"][0, 0], [6.0, 1.5, 14.0, 3.5])
    moved = head.decode(outputs, {**info, "border": tf.constant([[2.0, 14.0, 4.0, 20.0]])})
    np.testing.assert_allclose(moved["boxes"][0, 0], [2.0, 0.5, 10.0, 2.5])


def test_losses_vanish_where_all_is_right_and_the_last_object_of_a_cell_counts(head):
    boxes = [[4.0, 0, 12, 8], [8.0, 4, 20, 12], [9.0, 4, 20, 13], [0, 0, 0, 0]]
    targets = {"boxes": tf.constant([boxes]), "labels": tf.constant([[0, 1, 1, -1]])}
    # centers in cells: (2, 1), (3.5, 2), (3.625, 2.125)
    outputs = maps({(1, 2, 0): (1.0, (2, 2), (0, 0)), (2, 3, 1): (1.0, (2.75, 2.25), (0.625, 0.125))})
    found = head.compute_losses(outputs, targets, {})
    assert float(found["loss_wh"]) == float(found["loss_offset"]) == 0.0
    assert float(found["loss_center_heatmap"]) < 1e-6
    worse = maps({(1, 2, 0): (1.0, (3, 2), (0, 0)), (2, 3, 1): (1.0, (2.75, 2.25), (0.625, 0.625))})
    found = head.compute_losses(worse, targets, {})
    np.testing.assert_allclose([found["loss_wh"], found["loss_offset"]], [1 / 4, 0.5 / 4], rtol=1e-6)


def test_enlarging_adds_what_each_pixel_spreads():
    layer = UpsamplingConv2D(1, 4, stride=2, padding=1, use_bias=False)
    x = tf.constant([[[[1.0], [10.0]]]])  # one row of two pixels
    layer.build(x.shape)
    layer.kernel.assign(tf.reshape(tf.range(16.0), [4, 4, 1, 1]))
    # rows 4 5 6 7 and 8 9 10 11 of the kernel, once and ten times two columns further; the border is cut
    np.testing.assert_allclose(layer(x)[0, ..., 0], [[5, 46, 57, 60], [9, 90, 101, 100]])
    with pytest.raises(ValueError, match="twice the padding"):
        UpsamplingConv2D(1, 4, stride=2, padding=0)


def test_the_canvas_is_longer_than_the_image_and_has_the_value_of_black():
    preprocessor = Preprocessor(center_pad=31, center_pad_more=1, pad_value=0.0)
    images = preprocessor.normalize(tf.fill([1, 31, 63, 3], 255.0), tf.constant([[31.0, 40.0]]))
    placed = preprocessor.placed(images, {"valid_size": tf.constant([[31.0, 40.0]])})
    assert placed.images.shape == (1, 32, 64, 3)
    np.testing.assert_array_equal(placed.info["border"], [[1, 32, 12, 52]])
    black = -np.float32(preprocessor.mean) / np.float32(preprocessor.std)
    np.testing.assert_allclose(placed.images[0, 0, 0], black, rtol=1e-6)
    np.testing.assert_allclose(placed.images[0, 1, 52], black, rtol=1e-6)
    assert (placed.images[0, 1:, 12:52] > 2).numpy().all()
