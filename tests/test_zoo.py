"""The zoo: every recipe is sound, names resolve, models are what the table says."""

import csv
import importlib.util

import numpy as np
import pytest

import kdet
from kdet import precision, published, registry
from kdet.config import Config, ConfigError, recipes
from kdet.data import spec as data_spec

FAMILIES = ("rpn", "fast_rcnn", "faster_rcnn", "mask_rcnn", "retinanet", "pascal_voc")


def parameters(model):
    """Learnable numbers: everything but the running statistics of batch norm."""
    return sum(int(np.prod(w.shape)) for w in model.weights if "moving_" not in w.path)


def test_every_published_model_of_the_families_has_a_recipe():
    expected = {name for name, row in published.table().items() if row["family"] in FAMILIES}
    assert len(expected) == 86
    assert expected <= set(recipes())
    assert all(recipes()[name].parent.name == published.table()[name]["family"] for name in expected)


NEEDED = {"albu_example": "albumentations", "instaboost": "cv2"}  # libraries of transforms, extras of kdet


@pytest.mark.parametrize("family", sorted({path.parent.name for path in recipes().values()}))
def test_every_recipe_is_complete_and_fits_its_classes(family):
    for name in kdet.zoo.list():
        if recipes()[name].parent.name == family:
            config = Config.load(name)  # checks every type, keyword and value
            assert set(config) >= {"model", "data", "train"}, name
            assert config["train"]["epochs"] and config["train"]["optimizer"]["learning_rate"], name
            for split in {"train", "val", "test"} & set(config["data"]):
                settings, _ = data_spec.complete(config["data"][split], f"{name}: data.{split}")
                if importlib.util.find_spec(NEEDED.get(family, "kdet")):
                    assert data_spec.chain(settings, training=False), name


def test_the_class_names_fit_the_number_of_classes():
    for name in kdet.zoo.list():
        known = kdet.zoo.info(name).num_classes
        assert known is None or known == len(Config.load(name, check=False)["data"]["classes"]), name


def test_the_table_is_whole():
    rows = published.table()
    assert len(rows) >= 407 and set(rows) <= set(recipes())
    for name, row in rows.items():
        assert row["parameters"] > 4e5 and row["license"] and row["source"], name
        if row.get("checkpoint", "").startswith("hf://"):
            assert row["checkpoint"].endswith("/model.safetensors") and row["aliases"], name
        elif "sha256" in row:
            assert row["checkpoint"].endswith(f"{row['sha256']}.pth"), name
        else:
            assert row["source"] != "MMDetection 2.28" or "checkpoint" not in row, name
    with open(published.configs_dir() / "published.csv", newline="") as file:
        header = next(csv.reader(file))
    assert header[:4] == ["name", "family", "mmdet_config", "parameters"]


@pytest.mark.parametrize(
    "spelling",
    [
        "faster_rcnn_r50_fpn_1x",
        "faster_rcnn_r50_fpn_1x_coco",
        "faster-rcnn_r50_fpn_1x_coco",
        "faster_rcnn/faster_rcnn_r50_fpn_1x_coco",
    ],
)
def test_all_spellings_name_one_model(spelling):
    assert kdet.zoo.info(spelling).name == "faster_rcnn_r50_fpn_1x"


def test_info_tells_what_was_published():
    info = kdet.zoo.info("mask_rcnn_r50_fpn_1x")
    assert (info.family, info.detector, info.backbone) == ("mask_rcnn", "TwoStageDetector", "ResNet 50")
    assert (info.box_ap, info.mask_ap, info.train_mem_gb, info.num_classes) == (38.2, 34.7, 4.4, 80)
    assert info.checkpoint.endswith("mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth")
    assert (info.license, info.source) == ("Apache-2.0", "MMDetection 2.28")
    assert info.sha256 == "d4b0c5d6" and info.imagenet == "torchvision://resnet50"
    assert info.config.is_file()
    assert "box_ap        38.2" in str(info)
    assert kdet.zoo.info("retinanet_r34_fpn_1x").box_ap is None


def test_list_takes_a_pattern():
    names = kdet.zoo.list("retinanet_r50*")
    assert "retinanet_r50_fpn_1x" in names and names == sorted(names)
    assert all(name.startswith("retinanet_r50") for name in names)


def test_list_takes_a_task_and_a_figure():
    panoptic = kdet.zoo.list(task="panoptic", min_ap=50)
    assert panoptic and all(kdet.zoo.info(name).pq >= 50 for name in panoptic)
    assert len(kdet.zoo.list(task="panoptic")) > len(panoptic)
    strong = kdet.zoo.list(min_ap=55)
    assert "rtdetr_r50vd_2x_coco_o365" in strong and "rtdetr_r50vd_6x" not in strong
    masks = kdet.zoo.list("rtmdet*", task="instance", min_ap=44)
    assert masks == ["rtmdet-ins_x_300e"]
    # without a published figure the parts of the recipe tell
    assert "solov2_light_r50_dcn_fpn_3x" in kdet.zoo.list("solov2_light*", task="instance")
    with pytest.raises(ValueError, match="task is one of"):
        kdet.zoo.list(task="boxes")


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="'retinanet_r50_fpn_1x'"):
        kdet.zoo.info("retinanet_r50_fnp_1x")


def test_a_proposal_network_has_no_classes():
    with pytest.raises(ValueError, match="rpn_r18_fpn_1x has no classes"):
        kdet.zoo.load("rpn_r18_fpn_1x", weights=None, num_classes=3)
    with pytest.raises(ValueError, match="from 1 on; got 0"):
        kdet.zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=0)


def test_load_builds_with_other_classes_dtype_and_overrides(monkeypatch):
    import keras

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    before = keras.config.dtype_policy().name
    model = kdet.zoo.load(
        "mask_rcnn_r18_fpn_1x",
        weights=None,
        num_classes=3,
        dtype="mixed_bfloat16",
        **{"model.roi_head.postprocess.max_per_image": 7},
    )
    assert keras.config.dtype_policy().name == before
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 3
    assert model.roi_head.postprocess.max_per_image == 7
    assert model.backbone.compute_dtype == "bfloat16" and model.class_names is None


@pytest.mark.parametrize("name", ["retinanet_r50_fpn_1x", "faster_rcnn_r50_caffe_c4_1x"])
def test_built_models_have_the_published_number_of_parameters(name):
    model = kdet.zoo.load(name, weights=None)
    assert parameters(model) == kdet.zoo.info(name).parameters
    assert model.class_names[:2] == ["person", "bicycle"] and len(model.class_names) == 80


def test_weights_from_a_file_fill_what_fits_and_report_the_rest(tmp_path, caplog):
    trained = kdet.zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=4)
    path = tmp_path / "trained.pth"
    kdet.convert.save_checkpoint(trained, path)
    same = kdet.zoo.load("retinanet_r18_fpn_1x", weights=path, num_classes=4)
    np.testing.assert_array_equal(same.bbox_head.retina_cls.kernel, trained.bbox_head.retina_cls.kernel)
    with caplog.at_level("WARNING", logger="kdet"):
        other = kdet.zoo.load("retinanet_r18_fpn_1x", weights=path, num_classes=2)
    np.testing.assert_array_equal(other.bbox_head.retina_reg.kernel, trained.bbox_head.retina_reg.kernel)
    assert other.bbox_head.retina_cls.kernel.shape[-1] == 9 * 2
    assert "bbox_head.retina_cls.weight" in caplog.text and "retina_reg" not in caplog.text


def test_weights_that_cannot_be_had_say_what_else_to_do():
    with pytest.raises(kdet.convert.FetchError, match="weights=None"):
        kdet.zoo.load("retinanet_r18_fpn_1x")  # never published
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        kdet.zoo.load("retinanet_r18_fpn_1x", weights="nowhere.pth")


def test_every_registered_class_explains_itself():
    classes = [registry.get(name) for name in registry.names()]
    assert [c.__name__ for c in classes if c.__module__.startswith("kdet.") and not c.__doc__] == []
