"""Maps, strides and settings of the backbones beyond ResNet, on small images."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.backbones import (
    ConvNeXt,
    CSPNeXt,
    EfficientNet,
    MobileNetV2,
    PyramidVisionTransformer,
    PyramidVisionTransformerV2,
    SwinTransformer,
)
from kdet.backbones.efficientnet import ARCHITECTURES

SMALL_PVT = {"embed_dims": 8, "depths": [1, 1, 1, 1]}
BACKBONES = {
    "swin": lambda: SwinTransformer(8, [1, 2, 1, 1], [1, 2, 2, 4], window_size=4, out_indices=(1, 3)),
    "pvt": lambda: PyramidVisionTransformer(**SMALL_PVT),
    "pvt_v2": lambda: PyramidVisionTransformerV2(**SMALL_PVT, out_indices=(0, 2)),
    "efficientnet": lambda: EfficientNet("b0", out_indices=(0, 2, 3)),
    "cspnext": lambda: CSPNeXt("p6", 0.2, 0.125, out_indices=(0, 2, 5)),
    "mobilenet": lambda: MobileNetV2(out_indices=(0, 2, 4), activation="leaky_relu"),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_are_as_announced(name):
    backbone = BACKBONES[name]()
    maps = backbone(tf.random.stateless_normal([2, 64, 96, 3], [0, 1]))
    shapes = [(2, 64 // stride, -(-96 // stride), channels) for channels, stride in backbone.feature_info]
    assert [tuple(x.shape) for x in maps] == shapes
    assert all(np.isfinite(x).all() for x in maps)


def test_convnext_counts_its_layers():
    backbone = ConvNeXt("small", out_indices=(3,))
    names = (
        "downsample_layers.0.0.weight",
        "stages.0.1.gamma",
        "downsample_layers.1.1.bias",
        "stages.2.0.norm.weight",
        "stages.2.26.norm.weight",
        "stages.3.0.gamma",
        "norm3.weight",
    )
    assert [backbone.layers_above(name) for name in names] == [13, 12, 11, 10, 2, 1, 0]
    assert backbone.feature_info == [(768, 32)]


def test_frozen_stages_do_not_train():
    backbone = SwinTransformer(8, [1, 1, 1, 1], [1, 1, 1, 1], window_size=4, frozen_stages=1)
    backbone(tf.zeros([1, 32, 32, 3]))
    assert not backbone.patch_embed.trainable and not backbone.norm0.trainable
    assert [stage.trainable for stage in backbone.stages] == [False, True, True, True]


def test_efficientnet_grows_in_depth_and_width():
    assert set(ARCHITECTURES) == {f"b{i}" for i in range(9)}
    backbone = EfficientNet("b3")
    assert backbone.feature_info == [(48, 8), (136, 16), (384, 32)]
    assert [len(stage) for stage in backbone.layers[1:]] == [2, 3, 3, 10, 8]


@pytest.mark.parametrize("backbone", [ConvNeXt, EfficientNet])
def test_unknown_architectures_are_named(backbone):
    with pytest.raises(ValueError, match="huge"):
        backbone("huge")
