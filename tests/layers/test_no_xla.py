"""Layers that call compiled ops say that XLA has none."""

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import layers, ops, registry, zoo  # noqa: F401  (zoo: all classes are registered)
from kdet.backbones import ResNet
from kdet.heads.roi import SingleRoIExtractor

COMPILED = (
    "batch_norm|carafe|corner_pool|crop_masks|deform_conv2d|deform_roi_pool|fast_nms|masked_conv2d|"
    "ms_deform_attn|multilevel_roi_align|nms|paste_masks|point_sample|rasterize_polygons|roi_align|soft_nms"
)


def test_every_layer_that_calls_one():
    callers = [
        cls
        for cls in registry._CLASSES.values()
        if issubclass(cls, keras.layers.Layer)
        and re.search(rf"\bops\.({COMPILED})\(", inspect.getsource(cls))
    ]
    assert len(callers) >= 8
    assert [cls.__name__ for cls in callers if not issubclass(cls, layers.NoXla)] == []
    assert all(hasattr(ops, name) for name in COMPILED.split("|"))


@pytest.mark.parametrize(
    "layer,supported",
    [
        (layers.Conv2D(4, 3), True),
        (layers.Conv2D(4, 3, groups=2), False),
        (layers.Conv2D(4, 3, dilation=2), False),
        (layers.BatchNorm(), False),
        (layers.ModulatedDeformConvPack(4, 3), False),
        (layers.CarafeUpsample(), False),
        (SingleRoIExtractor(), False),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_supports_jit(layer, supported):
    assert layer.supports_jit == supported


def test_keras_leaves_xla_off():
    model = keras.Sequential([ResNet(18), keras.layers.Lambda(lambda maps: tf.reduce_mean(maps[-1], [1, 2]))])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.zeros([1, 32, 32, 3], np.float32), np.zeros([1, 512], np.float32), verbose=0)
    assert not model.jit_compile
