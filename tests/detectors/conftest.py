import numpy as np
import pytest
import tensorflow as tf

from kdet import zoo


@pytest.fixture(scope="module")
def targets():
    """Two images of 128x160: one with two objects and masks, one without any."""
    masks = np.zeros((2, 2, 128, 160), np.uint8)
    masks[0, 0, 10:60, 20:70] = 1
    masks[0, 1, 70:110, 80:150] = 1
    return {
        "boxes": tf.constant([[[20.0, 10, 70, 60], [80, 70, 150, 110]], [[0, 0, 0, 0]] * 2]),
        "labels": tf.constant([[0, 2], [-1, -1]]),
        "masks": tf.constant(np.packbits(masks, axis=-1)),
    }


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(0).integers(0, 255, (2, 128, 160, 3)), tf.uint8)


@pytest.fixture(
    scope="module", params=["retinanet_r18_fpn_1x", "mask_rcnn_r18_fpn_1x", "faster_rcnn_r18_fpn_1x"]
)
def detector(request):
    overrides = {} if "retina" in request.param else {"model.rpn_head.test_proposals.max_per_image": 50}
    return zoo.load(request.param, weights=None, num_classes=3, **overrides)
