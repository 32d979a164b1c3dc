"""``evaluate``: every metric by its name, on small data sets with a detector that finds what is there."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kdet.data
from kdet.config import Config, ConfigError
from kdet.evaluation import evaluate, metrics
from kdet.settings import METRICS
from tests.evaluation.scenes import faces, write_city, write_lists


class Perfect:
    """Finds the objects of an index (and NaN beside them); with masks of the image, or without any."""

    num_classes = None  # its labels are those of the index
    smallest = 1
    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, index, masks=True):
        self.index, self.masks = index, masks

    def predict_on_batch(self, inputs, canvas):
        record = next(r for r in self.index.records if r.image_id == int(inputs["image_id"][0]))
        boxes = np.concatenate([record.boxes, [[0, 0, np.nan, 9]]])[None]
        found = {
            "boxes": boxes,
            "scores": np.full(boxes.shape[:2], 0.9),
            "labels": np.append(record.labels, 0)[None],
        }
        if self.masks:
            size = record.height, record.width
            masks = [kdet.data.masks.rasterize(s, *size) for s in self.index.segmentations(record)]
            found["masks"] = np.array([*masks, np.ones(size, np.uint8)])[None]
        return found

    @staticmethod
    def image_masks(detections, height, width):
        return detections["masks"]


@pytest.fixture
def coco(tmp_path):
    """A data section over one image with an object, in LVIS' form."""
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 4, "file_name": "a.png", "height": 40, "width": 60}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 7, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
        ],
        "categories": [
            {"id": 7, "name": "cat", "frequency": "r"},
            {"id": 8, "name": "dog", "frequency": "f"},
        ],
    }
    content["annotations"][0]["segmentation"] = [[5, 5, 25, 5, 25, 25, 5, 25]]
    content["images"][0].update(neg_category_ids=[8], not_exhaustive_category_ids=[])
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    return {"annotations": str(path), "images": str(tmp_path), "masks": True}


def load(spec):
    return kdet.data.load({"transforms": [{"type": "Resize", "mode": "fixed", "sizes": [[60, 40]]}], **spec})


def test_coco_voc_and_lvis(coco, tmp_path, caplog):
    pipeline = load(coco)
    names = ["bbox", "segm", "proposal", "voc07", "voc12", "voc12_exclusive", "lvis_bbox", "lvis_segm"]
    figures = evaluate(Perfect(pipeline.index), pipeline, names, out=tmp_path / "found.json")
    for name in ("bbox/AP", "segm/AP", "voc07/mAP", "voc12/mAP", "voc12_exclusive/mAP", "proposal/AR@100"):
        assert figures[name] == pytest.approx(1.0), name
    for name in ("lvis_bbox/AP", "lvis_bbox/APr", "lvis_segm/AP"):
        assert figures[name] == pytest.approx(1.0), name
    assert np.isnan(figures["lvis_bbox/APf"])
    assert "1 detections whose box or score is not finite" in caplog.text
    assert len(json.loads((tmp_path / "found.json").read_text())) == 1


def test_cityscapes(tmp_path):
    found = np.full((40, 60), 7)
    found[5:25, 5:25] = 26000
    write_city([found], tmp_path)
    spec = {"type": "CityscapesReader", "masks": True}
    spec.update(annotations=str(tmp_path / "gtFine"), images=str(tmp_path / "leftImg8bit"))
    pipeline = load(spec)
    figures = evaluate(Perfect(pipeline.index), pipeline, ["cityscapes", "bbox", "segm"])
    for name in ("cityscapes/AP", "cityscapes/AP50/car", "bbox/AP", "segm/AP"):
        assert figures[name] == pytest.approx(1.0), name


def test_wider_face(tmp_path):
    name = "0--Parade/one"
    (tmp_path / "0--Parade").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "faces.txt").write_text(f"{name}.jpg\n1\n10 10 20 20 0 0 0 0 0 0\n")
    spec = {"type": "WiderFaceReader", "annotations": str(tmp_path / "faces.txt"), "images": str(tmp_path)}
    pipeline = load(spec)
    with pytest.raises(ValueError, match="needs data.val.difficulty_lists"):
        evaluate(None, pipeline, ["wider_face"])
    lists = {name: faces([[10, 10, 20, 20]], hard=[0])}
    write_lists(tmp_path, lists)
    pipeline = load({**spec, "difficulty_lists": str(tmp_path)})
    figures = evaluate(Perfect(pipeline.index, masks=False), pipeline, ["wider_face", "voc12_exclusive"])
    assert figures["wider_face/hard"] == figures["voc12_exclusive/mAP"] == pytest.approx(1.0)
    assert np.isnan(figures["wider_face/easy"])


def test_what_cannot_be_scored_is_refused_before_anything_is_predicted(coco):
    with pytest.raises(ValueError, match="read .*a.json with data.val.type: CityscapesReader"):
        evaluate(None, load(coco), ["cityscapes"])
    with pytest.raises(ValueError, match="unknown metric 'bboxes'.*'bbox'"):
        evaluate(None, load(coco), ["bboxes"])
    content = json.loads(open(coco["annotations"]).read())
    del content["images"][0]["neg_category_ids"]
    with open(coco["annotations"], "w") as file:
        json.dump(content, file)
    with pytest.raises(ValueError, match="a.json is not an LVIS file: the entry 4 of 'images'"):
        evaluate(None, load(coco), ["lvis_bbox"])


def test_ground_truth_without_masks_is_named_before_anything_is_predicted(coco):
    content = json.loads(open(coco["annotations"]).read())
    del content["annotations"][0]["segmentation"]
    with open(coco["annotations"], "w") as file:
        json.dump(content, file)
    for metric in ("segm", "lvis_segm"):
        with pytest.raises(
            ValueError, match=f"'{metric}' needs masks, but annotation 1 of image 4 in .*a.json"
        ):
            evaluate(None, load({**coco, "masks": False}), [metric])


def test_a_model_without_masks_is_named(coco):
    pipeline = load(coco)
    with pytest.raises(ValueError, match="'segm' needs masks, and Perfect predicts none"):
        evaluate(Perfect(pipeline.index, masks=False), pipeline, ["segm"])


def test_recipes_name_metrics_that_there_are(tmp_path):
    assert [metrics.find(name)[0] for name in METRICS] == list(METRICS)
    path = tmp_path / "recipe.yaml"
    path.write_text("data:\n  metrics: [bbox, lvis_box]\n")
    with pytest.raises(
        ConfigError, match=r"recipe.yaml: data.metrics.1: unknown metric 'lvis_box'.*'lvis_bbox'"
    ):
        Config.load(path)
    path.write_text("data:\n  metrics: bbox\n")
    with pytest.raises(
        ConfigError, match="data.metrics: expected a list of mappings with a `type`, got 'bbox'"
    ):
        Config.load(path)


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ("mask_rcnn_r50_fpn_sample1e-3_mstrain_1x_lvis_v1", ["lvis_bbox", "lvis_segm"]),
        ("mask_rcnn_r50_fpn_sample1e-3_mstrain_2x_lvis_v0.5", ["lvis_bbox", "lvis_segm"]),
        ("faster_rcnn_r50_fpn_1x_cityscapes", ["bbox"]),
        ("mask_rcnn_r50_fpn_1x_cityscapes", ["bbox", "segm", "cityscapes"]),
        ("ssd300_wider_face", ["voc12_exclusive", "wider_face"]),
        ("mask_rcnn_r50_fpn_15e_deepfashion", ["bbox", "segm"]),
        ("faster_rcnn_r50_fpn_1x_voc0712", ["voc07"]),
    ],
)
def test_metrics_of_the_recipes(recipe, wanted):
    assert Config.load(recipe)["data"]["metrics"] == wanted
