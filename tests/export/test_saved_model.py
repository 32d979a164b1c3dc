"""Exported detectors give what ``predict`` gives, with TensorFlow alone."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kdet import ops
from kdet.data import inference, resize
from kdet.export import checks, compared
from kdet.ops import build, compiled
from verification import sweep_exports as sweep

PROPOSALS = {"model.rpn_head.test_proposals.max_per_image": 20}
THIN = [64, 32, 16]
# one of each shape of detector, small, in two processes: recipe and what makes it smaller
DETECTORS = {
    "whole images": {
        "anchors": ("retinanet_r18_fpn_1x", {"model.bbox_head.stacked_convs": 1}),
        "transformer": ("detr_r50_8x2_150e", {}),
        "corners": ("cornernet_hourglass104_mstest_32x3_210e", {}),
        "prototypes": ("yolact_r50_1x8", {"model.preprocessor.size": [160, 128]}),
        "yolo": ("yolov3_d53_320_273e", {"model.neck.filters": THIN, "model.bbox_head.filters": THIN}),
    },
    "regions": {
        "boxes": ("faster_rcnn_r18_fpn_1x", PROPOSALS),
        "masks": ("mask_rcnn_r18_fpn_1x", PROPOSALS),
        "given regions": ("fast_rcnn_r18_fpn_1x", {}),
        "sparse": ("sparse_rcnn_r50_fpn_1x", {"model.rpn_head.num_proposals": 20}),
    },
}


@pytest.fixture
def portable(monkeypatch):
    """Images and ops as in a graph that leaves this process."""
    monkeypatch.setattr(resize, "cv2", None)
    inference._resizer.cache_clear()
    with ops.use("portable"):
        yield
    inference._resizer.cache_clear()


@pytest.mark.parametrize("group", DETECTORS)
def test_every_shape_of_detector_equals_predict_in_a_process_without_kdet(portable, tmp_path, group):
    image = sweep.write_image(tmp_path / "image.png")
    alone, wrong = sweep.Isolated(sweep.ALONE), {}
    for kind, (name, overrides) in DETECTORS[group].items():
        model = sweep.load_config(name, small=True, **overrides).build("model")
        predicted = sweep.predict_calmly(model, image)
        assert predicted["num_detections"][0] > 0, kind
        path = model.export(tmp_path / kind, box_format="xyxy", label_offset=0, masks="image")
        served = sweep.run_alone(alone, path, image, **sweep.proposals_for(model, *sweep.IMAGE))
        wrong[kind] = served if isinstance(served, str) else checks.disagreement(predicted, served)
        keras.backend.clear_session()
    alone.close()
    assert not any(wrong.values()), wrong


def test_compiled_ops_run_where_the_library_is_loaded(generated, tmp_path):
    if compiled.why_not():
        pytest.skip(compiled.why_not())
    thin = {"neck.out_channels": 32, "bbox_head.filters": 32, "bbox_head.stacked_convs": 1}
    model = generated("retinanet_r18_fpn_1x", {f"model.{key}": value for key, value in thin.items()})
    model.export(tmp_path / "1", ops="compiled", input_size=(64, 96), box_format="xyxy", label_offset=0)
    image = tmp_path / "image.png"
    pixels = compared.noise_images(model, 64, 96)
    image.write_bytes(tf.io.encode_png(pixels[0]).numpy())
    job = {"model": str(tmp_path / "1"), "signature": "serving_default", "images": [str(image)]}
    job["out"] = str(tmp_path / "out.npz")
    alone = sweep.Isolated(sweep.ALONE)
    with pytest.raises(sweep.Crash, match="Op type not registered 'Kdet"):
        alone.ask(job)
    assert "error" not in alone.ask({**job, "library": str(compiled.FOLDER / build.LIBRARY)})
    alone.close()
    with ops.use("compiled"):
        predicted = model.predict_on_batch(pixels)
    assert predicted["num_detections"][0] > 20
    assert checks.disagreement(predicted, dict(np.load(job["out"]))) is None


def saved_library(path):
    """The functions of a SavedModel."""
    saved = saved_model_pb2.SavedModel.FromString((pathlib.Path(path) / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].graph_def.library


def test_masks_in_the_frame_of_each_box(tmp_path):
    model = sweep.load_config("mask_rcnn_r18_fpn_1x", small=True, **PROPOSALS).build("model")
    sweep.generate_weights(model)
    pixels = compared.noise_images(model, 64, 96)
    path = model.export(tmp_path / "1", input_size=(64, 96))
    assert not saved_library(path).registered_gradients  # they can be most of a file
    saved = tf.saved_model.load(path)
    masks = saved.signatures["serving_default"](images=tf.constant(pixels))
    with ops.use("portable"):
        wanted = model.predict_on_batch(pixels)
    assert wanted["num_detections"][0] > 5 and wanted["masks"].shape[2:] == (28, 28)
    np.testing.assert_allclose(masks["detection_masks"], wanted["masks"], atol=1e-4)


def test_trained_saved_and_loaded_models_are_exported(generated, tmp_path):
    thin = {"neck.out_channels": 32, "bbox_head.filters": 32, "bbox_head.stacked_convs": 1, "num_classes": 3}
    model = generated("retinanet_r18_fpn_1x", {f"model.{key}": value for key, value in thin.items()})
    pixels = compared.noise_images(model, 64, 96)
    targets = {"boxes": tf.constant([[[8.0, 8, 40, 40]]]), "labels": tf.constant([[1]])}
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    model.fit(tf.data.Dataset.from_tensors((pixels, targets)), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    path = loaded.export(tmp_path / "1", input_size=(64, 96), box_format="xyxy", label_offset=0)
    saved = tf.saved_model.load(path)
    with ops.use("portable"):
        predicted = model.predict_on_batch(pixels)
    served = saved.signatures["serving_default"](images=tf.constant(pixels))
    served = {name: value.numpy() for name, value in served.items()}
    assert predicted["num_detections"][0] > 0
    assert checks.disagreement(predicted, served) is None
