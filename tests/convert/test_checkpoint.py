import collections
import re

import numpy as np
import pytest

from kdet import convert
from kdet.convert.pth_writer import write_pth


def assert_holds(model, state):
    for name, array in convert.state_dict(model).items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_user_checkpoint_of_a_parallel_run_with_ema(toys, tmp_path):
    model = toys.detector()
    state = toys.state(model)
    stored = {f"module.{k}": v for k, v in state.items()}
    stored["module.ema_backbone_conv1_weight"] = np.zeros(3, "float32")
    stored["module.backbone.bn1.num_batches_tracked"] = np.array(9)
    tree = {
        "meta": {"CLASSES": ("a", "b", "c")},
        "state_dict": stored,
        "optimizer": {"state": {0: np.ones(2)}},
    }
    write_pth(tmp_path / "epoch_1.pth", tree)
    report = convert.load_checkpoint(model, tmp_path / "epoch_1.pth")
    assert_holds(model, state)
    assert report.ignored == ("backbone.bn1.num_batches_tracked",)
    assert convert.read_checkpoint(tmp_path / "epoch_1.pth").classes == ("a", "b", "c")


def test_bare_state_dict(toys, tmp_path):
    model = toys.detector()
    write_pth(tmp_path / "bare.pth", collections.OrderedDict(toys.state(model)))
    convert.load_checkpoint(model, tmp_path / "bare.pth")
    assert_holds(model, toys.state(model))


def test_file_without_state_dict_says_what_it_holds(tmp_path):
    write_pth(tmp_path / "other.pth", {"epoch": 3})
    with pytest.raises(convert.CheckpointError, match=r"other.pth.*no state-dict.*'epoch'"):
        convert.read_checkpoint(tmp_path / "other.pth")


def test_wrong_model_names_file_and_lists(toys, tmp_path):
    write_pth(tmp_path / "wrong.pth", toys.state(toys.backbone(blocks=2)))
    with pytest.raises(convert.IncompleteStateDict, match=r"(?s)wrong.pth.*unfilled in the model") as error:
        convert.load_checkpoint(toys.backbone(blocks=3), tmp_path / "wrong.pth")
    assert error.value.report.unfilled == ("layer1.2.conv1.weight",)


def test_other_class_count_keeps_the_rest(toys, tmp_path):
    model, source = toys.detector(classes=7), toys.detector(classes=3)
    state = toys.state(source)
    write_pth(tmp_path / "coco.pth", state)
    report = convert.load_file(model, tmp_path / "coco.pth", allow_mismatch=True)
    assert {re.sub(r"\.(weight|bias)$", "", name) for name in report.mismatched} == {
        "roi_head.bbox_head.fc_cls",
        "roi_head.bbox_head.fc_reg",
        "roi_head.mask_head.conv_logits",
    }
    np.testing.assert_array_equal(
        convert.state_dict(model)["backbone.conv1.weight"], state["backbone.conv1.weight"]
    )


def test_files_of_other_kinds(toys, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.pth"):
        convert.load_file(toys.detector(), tmp_path / "gone.pth")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"model.onnx: kdet reads .pth"):
        convert.load_file(toys.detector(), tmp_path / "model.onnx")


def as_1x(state):
    """What MMDetection 1.x would have written: background first, outputs for it everywhere."""
    old = {}
    for name, array in state.items():
        if "fc_cls" in name:
            array = np.concatenate([array[-1:], array[:-1]])
        elif "fc_reg" in name:
            array = np.concatenate([np.full((4, *array.shape[1:]), 99, "float32"), array])
        elif "conv_logits" in name:
            array = np.concatenate([np.full((1, *array.shape[1:]), 99, "float32"), array])
        old[name.removeprefix("roi_head.")] = array
    return old


@pytest.mark.parametrize("meta", [{}, {"mmdet_version": "1.0.0+a1b2c3"}])
def test_two_stage_1x_checkpoint(toys, tmp_path, meta):
    model = toys.detector()
    state = toys.state(model)
    write_pth(tmp_path / "old.pth", {"meta": meta, "state_dict": as_1x(state)})
    report = convert.load_checkpoint(model, tmp_path / "old.pth")
    assert_holds(model, state)
    assert not report.unfilled and not report.left_over


def test_version_2_is_never_reordered(toys, tmp_path):
    model = toys.detector()
    state = toys.state(model)
    write_pth(tmp_path / "new.pth", {"meta": {"mmdet_version": "2.0.0"}, "state_dict": state})
    convert.load_checkpoint(model, tmp_path / "new.pth")
    assert_holds(model, state)


def test_ssd_1x_names_and_class_order():
    from kdet.convert import legacy

    anchors, classes = 2, 3
    weight = np.arange(anchors * (classes + 1) * 5, dtype="float32").reshape(-1, 5, 1, 1)
    old = {
        "bbox_head.cls_convs.0.weight": weight,
        "bbox_head.reg_convs.0.bias": np.zeros(4 * anchors),
        "backbone.extra.3.bias": np.zeros(1),
        "backbone.l2_norm.weight": np.zeros(1),
    }
    known = {
        "bbox_head.cls_convs.0.0.weight",
        "bbox_head.reg_convs.0.0.bias",
        "neck.extra_layers.1.1.conv.bias",
        "neck.l2_norm.weight",
    }
    new = legacy.upgrade(old, known)
    assert set(new) == known
    rows = new["bbox_head.cls_convs.0.0.weight"].reshape(anchors, classes + 1, 5)
    np.testing.assert_array_equal(rows[:, -1], weight.reshape(anchors, classes + 1, 5)[:, 0])
    np.testing.assert_array_equal(rows[:, 0], weight.reshape(anchors, classes + 1, 5)[:, 1])


@pytest.mark.parametrize(
    "old, new",
    [
        ("backbone.layer2.0.conv2_offset.bias", "backbone.layer2.0.conv2.conv_offset.bias"),
        ("bbox_head.fcos_cls.weight", "bbox_head.conv_cls.weight"),
        ("bbox_head.fcos_centerness.bias", "bbox_head.conv_centerness.bias"),
        ("bbox_head.cls_convs.0.weight", "bbox_head.cls_convs.0.conv.weight"),
        ("bbox_head.0.fc_cls.weight", "roi_head.bbox_head.0.fc_cls.weight"),
        (
            "bbox_head.transformer.decoder.layers.1.multihead_attn.out_proj.weight",
            "bbox_head.transformer.decoder.layers.1.attentions.1.out_proj.weight",
        ),
    ],
)
def test_old_names_are_found(old, new):
    from kdet.convert import rules

    assert rules.find_name(old, {new}) == new
    assert rules.find_name(old, {old, new}) == old
    assert rules.find_name(old, {"something.else"}) is None


def test_weight_standardised_convolutions_start_from_the_filters():
    from kdet.convert import rules

    weight = np.random.default_rng(0).normal(size=(3, 2, 1, 1)).astype("float32")
    state = {"c.weight": weight}
    np.testing.assert_allclose(rules.derive("c.weight_beta", state)[:, 0, 0, 0], weight.mean(axis=(1, 2, 3)))
    expected = np.sqrt(weight.var(axis=(1, 2, 3), ddof=1) + 1e-5)
    np.testing.assert_allclose(rules.derive("c.weight_gamma", state)[:, 0, 0, 0], expected, rtol=1e-6)
    state["c.weight_gamma"] = np.ones((3, 1, 1, 1))
    assert rules.derive("c.weight_gamma", state) is None
    state["c.weight_gamma"] = -np.ones((3, 1, 1, 1))
    assert rules.derive("c.weight_gamma", state).shape == (3, 1, 1, 1)
