"""Joining, dividing, counting and checking data sets."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet import curation
from kdet.config import Config
from kdet.curation import anchors, counting, model_sizes
from kdet.curation.defects import best_overlaps
from kdet.curation.own_data import use_data
from kdet.errors import ConfigError, DataError
from tests.data import made


def coco(folder, count=40, names=("cat", "dog"), seed=0):
    """``count`` images, a dog in every fourth, a cat in all."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        pixels = generator.integers(0, 255, (32, 32, 3), np.uint8)
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": 32, "width": 32})
        for label in (0, 1) if i % 4 == 0 else (0,):
            box = [1, 1, *generator.integers(3, 30, 2).tolist()]
            annotations.append({"id": len(annotations), "image_id": i + 1, "category_id": label, "bbox": box})
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    return made.write(folder / "annotations.json", content)


def test_classes_are_joined_by_name(tmp_path):
    first = kdet.data.read_coco(coco(tmp_path / "a", 4), tmp_path / "a")
    second = kdet.data.read_coco(coco(tmp_path / "b", 4, ("dog", "cow"), 1), tmp_path / "b")
    both = curation.merge([first, second], prefixes=["a", "b"])
    assert both.class_names == ["cat", "dog", "cow"] and len(both) == 8
    assert both.counts() == {"cat": 4, "dog": 5, "cow": 1}
    assert [r.image_id for r in both.records] == list(range(1, 9)) and both.records[4].name == "b/0.png"
    assert both.read(both.records[4]) == (tmp_path / "b" / "0.png").read_bytes()
    assert both.to_coco()["annotations"][-1]["category_id"] == 2
    with pytest.raises(DataError, match="has the class 'cow', which is not among"):
        curation.merge([first, second], ["cat", "dog"])


def test_masks_of_merged_parts_are_their_own(tmp_path):
    parts = [kdet.data.read_labelme(made.labelme(tmp_path / name), masks=True) for name in "ab"]
    both = curation.merge(parts)
    assert both.has_masks and both.segmentations(both.records[2])[1] == [made.DOG]


def test_every_part_has_its_share_of_every_class(tmp_path):
    index = kdet.data.read_coco(coco(tmp_path / "a"), tmp_path / "a")
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / "7.png")  # they must stay together
    parts = curation.divide(index, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=3)
    assert [len(part) for part in parts.values()] == pytest.approx([28, 8, 4], abs=1)
    assert [part.counts()["dog"] for part in parts.values()] == pytest.approx([7, 2, 1], abs=1)
    names = {split: {r.name for r in part.records} for split, part in parts.items()}
    assert sum(map(len, names.values())) == 40 and len(set.union(*names.values())) == 40
    assert any({"0.png", "7.png"} <= found for found in names.values())
    again = curation.divide(index, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=3)
    assert {split: {r.name for r in part.records} for split, part in again.items()} == names
    with pytest.raises(DataError, match="two or more positive numbers"):
        curation.divide(index, {"train": 1.0, "val": 0.0})
    with pytest.raises(DataError, match="too few for 3 parts"):
        curation.divide(index.first(2), {"a": 1, "b": 1, "c": 1})


def test_statistics_count(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path))
    found = curation.statistics(index)
    assert (found["images"], found["objects"], found["empty_images"], found["ignored"]) == (2, 2, 1, 0)
    assert found["classes"]["cat"] == {"objects": 1, "images": 1, "side": 20.0}
    assert found["sizes"] == {"small": 2, "medium": 0, "large": 0} and found["side"] == [20.0] * 5
    assert found["objects_per_image"] == [0.0, 0.2, 1.0, 1.8, 2.0]
    text = counting.lines("all", found)
    assert "2 images (1 without objects), 2 objects" in text[0]
    assert text[-1].split() == "dog 1 objects 1 images median side 20".split()
    assert json.loads(json.dumps(found)) == found
    curation.statistics(index.first(0))


def test_a_check_finds_everything(tmp_path):
    made.yolo(tmp_path, ["0 .5 .5 .9 .9", "0 .5 .5 .9 .90", "7 .5 .5 .1 .1", "1 .2 .2 .02 .03"])
    splits = curation.read_splits(tmp_path, on_corrupt="skip")
    assert set(splits) == {"train", "val"} and not splits["train"].has_masks
    (tmp_path / "images" / "train" / "b.png").write_bytes(made.png(9, 9))
    options = {"strides": (4, 8), "anchors": np.array([[50.0, 40.0]])}
    report = curation.check(splits, **options)
    assert report.defects["train"].counts == {
        "unusable line": 1,
        "image of another size than annotated": 1,
        "object that stands twice (same box and class)": 1,
    }
    assert report.defects["val"].counts["image that is in train too"] == 1
    assert [r.name for r in report.suspects["val"]] == ["images/val/a.png"] and report.count == 6
    notes = "\n".join(report.notes)
    assert "train: few objects of cat (2), dog (1)" in notes
    assert "train: 1 of 3 boxes have a side below the smallest stride, 4 pixels" in notes
    assert "1 of 3 below 0.3" in notes
    text = "\n".join(report.lines())
    assert "line 3: its class is '7'" in text and "6 defects" in text
    (tmp_path / "images" / "train" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = curation.check(splits)
    assert report.defects["train"].counts["image that cannot be read"] == 1


def test_images_that_are_there_twice_are_counted(tmp_path):
    index = kdet.data.read_coco(coco(tmp_path / "a", 3), tmp_path / "a")
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / "2.png")
    report = curation.check({"all": index})
    assert report.defects["all"].examples == {"image that is there several times": ["0.png = 2.png"]}


def test_sizes_of_a_recipe():
    found = model_sizes.of_recipe("retinanet_r50_fpn_1x")
    assert found["strides"] == (8, 16, 32, 64, 128) and found["anchors"].shape == (45, 2)
    np.testing.assert_allclose(found["scale_of"](480, 640), [800 / 480] * 2)
    points = model_sizes.of_recipe("fcos_r50_caffe_fpn_gn-head_1x")
    assert list(points["strides"]) == [8, 16, 32, 64, 128] and points["anchors"] is None


def boxes_index(tmp_path, sizes):
    """An index of one image with boxes of these sizes."""
    index = kdet.data.read_labelme(made.labelme(tmp_path))
    boxes = np.concatenate([np.zeros((len(sizes), 2)), sizes], axis=1).astype(np.float32)
    labels = np.zeros(len(sizes), np.int32)
    one = dataclasses.replace(
        index.records[0], height=608, width=608, boxes=boxes, labels=labels, segmentations=None
    )
    index.records = [one, *index.records[1:]]
    return index


def test_anchors_are_fitted(tmp_path):
    generator = np.random.default_rng(0)
    true = np.array(
        [[20, 20], [24, 60], [60, 25], [80, 90], [100, 200], [220, 90], [250, 250], [300, 400], [500, 450]]
    )
    sizes = true[generator.integers(0, 9, 300)] * generator.uniform(0.93, 1.07, (300, 2))
    config = Config.load("yolov3_d53_mstrain-608_273e_coco", {"model.preprocessor.size": [608, 608]})
    found = anchors.fit(boxes_index(tmp_path, sizes), config, rounds=8)
    assert found.key == "model.bbox_head.anchor_generator" and found.boxes == 300
    assert found.after > 0.9 > found.before and found.recall_after == 1.0
    levels = found.spec["base_sizes"]
    assert [len(level) for level in levels] == [3, 3, 3]
    areas = [[w * h for w, h in level] for level in levels]
    assert min(areas[0]) > max(areas[1]) and min(areas[1]) > max(areas[2])  # strides 32, 16, 8
    # every size was drawn within 7 % of a true one, some 33 times: the fit ends within the same and a little
    np.testing.assert_allclose(sorted(w for level in levels for w, _ in level), sorted(true[:, 0]), rtol=0.1)


def test_ratios_and_scales_are_fitted(tmp_path):
    sizes = np.array([[s, 4 * s] for s in (20.0, 40.0, 80.0, 120.0)] * 5)
    config = Config.load("retinanet_r50_fpn_1x", {"model.preprocessor.size": 1.0})
    found = anchors.fit(boxes_index(tmp_path, sizes), config, rounds=8)
    assert max(found.spec["ratios"]) > 3 and len(found.spec["ratios"]) == 3
    assert found.after > found.before + 0.1 and "octave_base_scale" in found.spec
    np.testing.assert_allclose(best_overlaps(np.array([[2.0, 2]]), np.array([[1.0, 2], [9, 9]])), [0.5])


def test_models_without_anchors_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no anchors to fit"):
        anchors.fit(boxes_index(tmp_path, np.ones((3, 2))), Config.load("fcos_r50_caffe_fpn_gn-head_1x"))
    with pytest.raises(DataError, match="fewer than 9 different sizes"):
        anchors.clusters(np.ones((20, 2)), 9)


def test_a_recipe_takes_other_data(tmp_path):
    made.yolo(tmp_path / "y")
    config = use_data(Config.load("retinanet_r50_fpn_1x"), tmp_path / "y")
    data = config["data"]
    assert data["classes"] == ["cat", "dog"] and config["model"]["bbox_head"]["num_classes"] == 2
    assert data["train"]["type"] == "YoloReader" and data["val"]["split"] == "val"
    assert data["train"]["transforms"][0]["type"] == "Resize" and data["metrics"] == ["bbox"]
    pipeline = kdet.data.load(kdet.data.section(config, "train"), training=True, batch_size=1, num_classes=2)
    assert len(pipeline.index) == 1
    config = use_data(Config.load("mask_rcnn_r50_fpn_1x"), tmp_path / "y")
    assert config["data"]["train"]["masks"] and config["model"]["roi_head"]["mask_head"]["num_classes"] == 2
    made.yolo(tmp_path / "boxes", ["0 .5 .5 .2 .2"])
    with pytest.raises(DataError, match="learns masks, and .* has boxes alone"):
        use_data(Config.load("mask_rcnn_r50_fpn_1x"), tmp_path / "boxes")
    made.labelme(tmp_path / "l")
    with pytest.raises(DataError, match="no split 'train'.*kdet dataset split"):
        use_data(Config.load("retinanet_r50_fpn_1x"), tmp_path / "l")
