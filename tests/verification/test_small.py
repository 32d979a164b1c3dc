"""Small variants of recipes."""

import pytest

from kdet.config import Config, recipes
from verification.small import small_variant


@pytest.mark.parametrize("family", sorted({path.parent.name for path in recipes().values()}))
def test_every_recipe_stays_sound(family):
    for name, path in recipes().items():
        if path.parent.name == family:
            small_variant(Config.load(name, check=False)).check()


def test_widths_shrink_together_and_nothing_is_frozen():
    model = small_variant(Config.load("mask_rcnn_r101_caffe_fpn_1x"))["model"]
    assert model["neck"]["out_channels"] == model["rpn_head"]["filters"] == 64
    assert model["roi_head"]["bbox_head"]["fc_units"] == 256
    backbone = model["backbone"]
    assert (backbone["depth"], backbone["base_channels"], backbone["frozen_stages"]) == (18, 32, -1)
    assert "pretrained" not in backbone and backbone["norm"] == {"kind": "bn"}


def test_defaults_of_classes_shrink_too():
    head = small_variant(Config.load("detr_r50_8x2_150e"))["model"]["bbox_head"]
    assert (head["units"], head["transformer"]["units"], head["position"]["units"]) == (64, 64, 64)


def test_deformable_convolutions_keep_their_bottlenecks():
    backbone = small_variant(Config.load("faster_rcnn_r101_fpn_dconv_c3-c5_1x"))["model"]["backbone"]
    assert backbone["depth"] == 50 and any(backbone["stage_with_dcn"])
