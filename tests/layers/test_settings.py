"""Settings of layers that are changed after the layer was built."""

import keras
import numpy as np
import pytest

from kdet.heads.roi import FCNMaskHead
from kdet.registry import Component


@pytest.fixture
def head():
    head = FCNMaskHead(num_classes=2, num_convs=1, filters=4)
    head(np.zeros([1, 7, 7, 4], np.float32))
    return head


def loaded(head):
    return type(head).from_config(head.get_config())


def test_a_threshold_that_is_set_later_is_kept(head):
    before = Component.changes
    head.mask_threshold = 0.3
    assert loaded(head).mask_threshold == 0.3 and Component.changes == before + 1


def test_what_is_the_same_or_no_argument_changes_nothing(head):
    before, config = Component.changes, head.get_config()
    head.mask_threshold = 0.5
    head.note = "mine"
    head.trainable = False
    head.trainable = True
    assert Component.changes == before and head.get_config() == config


def test_a_call_is_no_change(head):
    before = Component.changes
    head(np.zeros([2, 7, 7, 4], np.float32))
    assert Component.changes == before
    assert keras.saving.serialize_keras_object(head)["config"]["num_convs"] == 1
