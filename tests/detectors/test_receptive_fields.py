"""Searched dilations reach the convolutions by their names, in all parts of a detector."""

import numpy as np
import pytest

from kdet import convert
from kdet.config import Config
from kdet.detectors.receptive_fields import ReceptiveFields
from kdet.errors import ConfigError
from kdet.layers import SpreadConv2D


def detector(**settings):
    config = Config.load("retinanet_r18_fpn_1x", {"model.bbox_head.stacked_convs": 1})
    config["model"]["receptive_fields"] = {"type": "ReceptiveFields", **settings}
    return config.build("model")


def test_single_dilations_keep_names_and_sizes():
    model = detector(dilations={"backbone.layer3.0.conv1": 3, "neck.fpn_convs.0.conv": 2}, skip=["layer2"])
    conv = model.backbone.layer3[0].conv1
    assert (conv.dilation, conv.padding, conv.stride) == ((3, 3), (3, 3), (2, 2))
    assert model.neck.fpn_convs[0].conv.padding == (2, 2)
    assert model.backbone.conv1.padding == (3, 3) and model.backbone.layer2[0].conv1.padding == (1, 1)
    assert "backbone.layer3.0.conv1.weight" in convert.torch_items(model)
    assert [x.shape[1] for x in model.extract_features(np.zeros([1, 64, 64, 3], np.float32))] == [
        8,
        4,
        2,
        1,
        1,
    ]


def test_branches_wrap_every_odd_kernel_but_those_to_skip(tmp_path):
    model = detector(dilations={"bbox_head.cls_convs.0.conv": 4}, branches=True, skip=["backbone", "retina"])
    head = model.bbox_head
    assert isinstance(head.cls_convs[0].conv, SpreadConv2D)
    assert head.cls_convs[0].conv.dilations == [(2, 2), (6, 6)]
    assert head.reg_convs[0].conv.dilations == [(1, 1), (2, 2)]
    names = convert.torch_items(model)
    assert {"neck.fpn_convs.3.conv.branch_weights", "neck.fpn_convs.3.conv.op_layer.weight"} <= set(names)
    assert {"neck.lateral_convs.0.conv.weight", "bbox_head.retina_cls.weight"} <= set(names)
    state = convert.state_dict(model)
    other = {name.replace(".op_layer", ""): value for name, value in state.items()}
    report = convert.load_state_dict(model, other)  # of a detector without branches, but for their weights
    assert len(report.renamed) == 2 * (5 + 2) - 0


def test_names_that_fit_nothing_are_refused():
    with pytest.raises(ConfigError, match="'neck.lateral_convs.0.conv' is no convolution.*odd kernel"):
        detector(dilations={"neck.lateral_convs.0.conv": 2})


def test_branches_lie_around_a_dilation():
    fields = ReceptiveFields(largest=24)
    sides = {d: [y for y, _ in fields.around(d)] for d in (1, 2, 3, 9, 20)}
    assert sides == {1: [1, 2], 2: [1, 3], 3: [2, 4], 9: [4, 14], 20: [10, 24]}
