"""What detectors give has the keys, shapes, dtypes and padding that the data contract declares."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import zoo
from kdet.contract import Detections, Form, ImageInfo, Inputs, Targets, forms
from kdet.inputs import INFO_KEYS, as_inputs
from kdet.targets import FORMS


def assert_form(key, value, form):
    assert value.dtype == form.dtype, key
    assert value.shape.rank == form.rank, key


def test_keys_are_declared_with_their_form():
    assert forms(Targets)["labels"] == Form("[B,G]", tf.int32, -1)
    assert forms(ImageInfo)["canvas"].rank == 1
    assert set(forms(Inputs)) == {"images", *INFO_KEYS}
    assert set(INFO_KEYS) <= set(forms(ImageInfo))
    assert FORMS["semantic"].padding == 255


def test_inputs_become_image_info():
    _, info = as_inputs(
        {"images": np.zeros([2, 8, 6, 3], np.uint8), "scale": np.full([2, 2], 2), "image_id": None}
    )
    assert set(info) == {"valid_size", "scale", "original_size"}
    for key, value in info.items():
        assert_form(key, value, forms(ImageInfo)[key])
    np.testing.assert_array_equal(info["original_size"], [[4, 3], [4, 3]])


@pytest.mark.parametrize("name", ["retinanet_r18_fpn_1x", "ms_rcnn_r50_caffe_fpn_1x", "rpn_r50_caffe_fpn_1x"])
def test_detections_have_the_declared_form(name):
    model = zoo.load(name, weights=None, **({} if name.startswith("rpn") else {"num_classes": 2}))
    side = model.smallest
    found = model({"images": tf.zeros([1, side, side, 3]), "image_id": tf.constant([3], tf.int64)})
    declared = forms(Detections)
    for key, value in found.items():
        assert_form(key, value, declared[key])
    count = int(found["num_detections"][0])
    for key in set(found) - {"num_detections"}:
        rest = found[key][0, count:]
        np.testing.assert_array_equal(rest, np.full(rest.shape, declared[key].padding))
