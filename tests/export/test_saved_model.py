"""Exported detectors give what ``predict`` gives, with TensorFlow alone."""

import importlib
import pathlib

import keras
import pytest

from kdet import ops
from kdet.data import inference, resize
from kdet.export import checks

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
R18 = {"model.backbone.depth": 18}
PROPOSALS = {"model.rpn_head.test_proposals.max_per_image": 20}
THIN = [64, 32, 16]
# one of each shape of detector, in two processes: recipe and what makes it small
DETECTORS = {
    "whole pictures": {
        "anchors": ("retinanet_r18_fpn_1x", {}),
        "transformer": ("detr_r50_8x2_150e", R18),
        "corners": (
            "cornernet_hourglass104_mstest_32x3_210e",
            {"model.backbone.channels": [32, 32, 48], "model.backbone.blocks": [1, 1, 1]},
        ),
        "prototypes": ("yolact_r50_1x8", {**R18, "model.preprocessor.size": [160, 128]}),
        "yolo": ("yolov3_d53_320_273e", {"model.neck.filters": THIN, "model.bbox_head.filters": THIN}),
    },
    "regions": {
        "boxes": ("faster_rcnn_r18_fpn_1x", PROPOSALS),
        "masks": ("mask_rcnn_r18_fpn_1x", PROPOSALS),
        "given regions": ("fast_rcnn_r18_fpn_1x", {}),
        "sparse": ("sparse_rcnn_r50_fpn_1x", {**R18, "model.rpn_head.num_proposals": 20}),
    },
}


@pytest.fixture
def portable(monkeypatch):
    """Pictures and ops as in a graph that leaves this process."""
    monkeypatch.setattr(resize, "cv2", None)
    inference._resizer.cache_clear()
    with ops.use("portable"):
        yield
    inference._resizer.cache_clear()


@pytest.fixture
def sweep(monkeypatch):
    """The tool that does this for the whole zoo."""
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("sweep_exports")


@pytest.mark.parametrize("group", DETECTORS)
def test_every_shape_of_detector_equals_predict_in_a_process_without_kdet(portable, sweep, tmp_path, group):
    picture = sweep.write_picture(tmp_path / "picture.png")
    alone, wrong = sweep.Isolated(sweep.ALONE), {}
    for kind, (name, overrides) in DETECTORS[group].items():
        model = sweep.load_config(name, **{"model.num_classes": 3}, **overrides).build("model")
        predicted = sweep.predict_calmly(model, picture)
        assert predicted["num_detections"][0] > 0, kind
        path = model.export(tmp_path / kind, box_format="xyxy", label_offset=0, masks="picture")
        served = sweep.run_alone(alone, path, picture, **sweep.proposals_for(model, *sweep.PICTURE))
        wrong[kind] = served if isinstance(served, str) else checks.disagreement(predicted, served)
        keras.backend.clear_session()
    alone.close()
    assert not any(wrong.values()), wrong
