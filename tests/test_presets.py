"""A detector as a folder, and on a hub that runs on this machine."""

import json
import sys

import numpy as np
import pytest
import yaml

import kdet
from kdet import convert, hubs, presets
from kdet.config import Config
from kdet.errors import CheckpointError, ConfigError

SMALL = {
    "model.neck.out_channels": 16,
    "model.bbox_head.filters": 16,
    "model.bbox_head.stacked_convs": 1,
    "model.num_classes": 3,
}


@pytest.fixture(scope="module")
def model():
    made = Config.load("retinanet_r18_fpn_1x", SMALL).build("model")
    made.class_names = ["red", "white", "blue"]
    made.bbox_head.postprocess.score_threshold = 0.25
    return made


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory):
    return model.save_to_preset(tmp_path_factory.mktemp("presets") / "cells", {"license": "mit"})


def weights_of(model):
    return convert.state_dict(model)


def test_a_preset_holds_the_whole_detector(model, preset):
    assert sorted(file.name for file in preset.iterdir()) == [
        "README.md",
        "metadata.json",
        "model.safetensors",
        "recipe.yaml",
    ]
    loaded = kdet.zoo.load(preset)
    assert loaded.class_names == ["red", "white", "blue"]
    assert loaded.bbox_head.postprocess.score_threshold == 0.25
    assert weights_of(loaded).keys() == weights_of(model).keys()
    for path, value in weights_of(model).items():
        np.testing.assert_array_equal(weights_of(loaded)[path], value, err_msg=path)
    facts = json.loads((preset / "metadata.json").read_text())
    assert (
        facts["num_classes"] == 3
        and facts["license"] == "mit"
        and facts["parameters"] == model.count_params()
    )
    front = yaml.safe_load((preset / "README.md").read_text().split("---")[1])
    assert front["library_name"] == "kdet" and front["license"] == "mit"


def test_a_preset_is_fine_tuned_with_other_classes(model, preset, caplog):
    loaded = kdet.detectors.SingleStageDetector.from_preset(str(preset), num_classes=5)
    assert loaded.num_classes == 5
    same = [p for p, v in weights_of(model).items() if np.array_equal(v, weights_of(loaded)[p])]
    assert len(weights_of(model)) - len(same) == 2  # the kernel and bias of the classes
    assert "Started afresh" in caplog.text
    with pytest.raises(CheckpointError, match="retina_cls.weight should be"):
        kdet.zoo.load(preset, **{"model.num_classes": 5, "model.class_names": None})


@pytest.mark.parametrize(
    "name",
    [
        "mask_rcnn_r50_fpn_1x",
        "cascade_rcnn_r50_fpn_1x",
        "detr_r50_8x2_150e",
        "yolact_r50_1x8",
        "yolov3_d53_320_273e",
    ],
)
def test_the_recipe_of_a_model_builds_it_again(name):
    config = Config.load(name)
    if "depth" in config["model"]["backbone"] and "yolo" not in name:
        config.override({"model.backbone.depth": 18})
    built = config.build("model")
    said = presets.describe(built)
    assert presets.describe(Config({"model": said}).check().build("model")) == said
    assert said["type"] == config["model"]["type"] and "name" not in said["backbone"]


def test_what_is_no_preset_is_refused(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(presets.PresetError, match="is there already and is no preset"):
        model.save_to_preset(tmp_path / "mine")
    with pytest.raises(presets.PresetError, match="mine is no preset of kdet: it has no recipe.yaml"):
        kdet.zoo.load(tmp_path / "mine")
    with pytest.raises(ConfigError, match="no recipe named"):
        kdet.zoo.load("minee")
    with pytest.raises(presets.PresetError, match="none is no preset of kdet"):
        kdet.zoo.upload(tmp_path / "none", "hf://user/none")


@pytest.mark.parametrize(
    "address, form",
    [
        ("hf://user", "hf://user/model"),
        ("hf://user/model/more", "hf://user/model"),
        ("hf:///model", "hf://user/model"),
        ("kaggle://user/model", "kaggle://user/model/keras/variation"),
    ],
)
def test_malformed_addresses_show_the_form(address, form):
    with pytest.raises(hubs.HubError, match=f"looks like {form}"):
        kdet.zoo.load(address)


def test_uploads_go_to_no_revision(preset):
    with pytest.raises(hubs.HubError, match="leave out what follows the @"):
        kdet.zoo.upload(preset, "hf://user/cells@v1")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(hubs.HubError, match=r"huggingface_hub: pip install 'kdet\[hub\]'"):
        kdet.zoo.load("hf://user/model")


def test_a_run_stands_for_its_recipe_and_its_best_weights(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {}")
    with pytest.raises(presets.PresetError, match="has no final.weights.h5: let it end"):
        presets.resolve(tmp_path, "published")
    assert presets.resolve(tmp_path, None) == (tmp_path / "config.yaml", None)
    for name in ("final.weights.h5", "best.weights.h5"):
        (tmp_path / name).touch()
        assert presets.resolve(tmp_path, "published") == (tmp_path / "config.yaml", tmp_path / name)
    assert presets.resolve(tmp_path, "mine.pth") == (tmp_path / "config.yaml", "mine.pth")
    assert presets.resolve("ssd300", "published") == ("ssd300", "published")
