"""What makes a small golden worth keeping, and what it leaves to defaults."""

import types

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from verification import checks, small_golden, small_table, training


def golden(norms=(1.0, 2.0), losses=None, detections=(3, 2)):
    data = {f"f/det/{i}/boxes": np.zeros((count, 5)) for i, count in enumerate(detections)}
    data |= {"f/train/grad_norms": np.float64(norms), "f/train/grad/a": np.float32([0.5, -1.0])}
    train = {"status": "ok", "losses": losses or {"loss_cls": [0.0, 1.0]}, "grad_names": ["a", "b"]}
    return types.SimpleNamespace(d=data, meta={"train": train}, full=lambda name: data[f"f/{name}"])


def test_a_golden_needs_detections_losses_and_gradients():
    assert small_golden.emptiness(golden()) == []
    assert small_golden.emptiness(golden(detections=(3, 0))) == ["no detections in image 1"]
    assert small_golden.emptiness(golden(losses={"loss_bbox": [0.0, 0.0]})) == ["loss_bbox is 0"]
    assert small_golden.emptiness(golden(norms=(0.0, 1.0))) == ["1 of 2 gradients are 0: a ..."]


def test_a_nudge_is_noise_of_the_size_of_rounding():
    golden = small_golden.Nudged(str(sorted(small_golden.FOLDER.glob("*.npz"))[0]))
    plain = golden.images()
    golden.nudge = 1
    change = abs(golden.images() - plain) / np.maximum(abs(plain), 1e-9)
    assert 0 < change.max() < 1e-6 and golden.images().dtype == np.float32
    golden.nudge = 0
    np.testing.assert_array_equal(golden.images(), plain)


def test_what_misses_once_may_meet_its_golden_under_noise(monkeypatch):
    def row(error):
        return checks.Row("det", error, error < 1e-3, "")

    found = {0: [row(2e-3), row(1e-4)], 1: [row(1e-4), row(2e-3)], 2: [row(0.0), row(0.0)]}
    one = types.SimpleNamespace(nudge=0)
    monkeypatch.setattr(checks, "stage_rows", lambda model, golden: found[golden.nudge])
    monkeypatch.setattr(training, "training_rows", lambda model, golden, least: [])
    assert [r.error for r in small_golden._steadied_rows(None, one, [])] == [1e-4, 1e-4]
    assert one.nudge == 0
    found = dict.fromkeys(range(small_golden.NUDGES + 1), [row(2e-3)])
    assert not small_golden._steadied_rows(None, one, [])[0].passed


def test_a_gradient_that_noise_changes_is_left_out():
    kept, noisy = golden(), golden(norms=(1.0, 2.001))
    assert small_golden.leave_out_unsteady(kept, noisy) == 0.5
    norms = kept.full("train/grad_norms")
    assert norms[0] == 1.0 and np.isnan(norms[1]) and "f/train/grad/a" in kept.d
    noisy.d["f/train/grad/a"] = np.float32([0.5, -1.01])  # the norm stays, a value does not
    assert small_golden.leave_out_unsteady(golden(), noisy) == 1.0


def test_arguments_at_their_defaults_are_left_to_them():
    head = {"type": "GHMRegressionLoss", "mu": 0.02, "momentum": 0.7}
    spec = {"type": "CascadeRoIHead", "stage_loss_weights": [1.0, 0.5, 0.25], "stages": [{"loss": head}]}
    assert small_golden.written_defaults({"roi_head": spec}) == [
        "roi_head.stages.0.loss.mu",
        "roi_head.stage_loss_weights",
    ]
    model = small_golden.variant("retinanet_ghm_r50_fpn_1x", ["bbox_head.loss_bbox.mu"])["model"]
    assert "mu" not in model["bbox_head"]["loss_bbox"] and model["bbox_head"]["loss_bbox"]["momentum"] == 0.7


def test_the_table_covers_every_part():
    parts = {"a": ("x", "p"), "b": ("x", "q"), "c": ("y", "q"), "aa": ("x", "p")}
    chosen = small_table.cover(parts)
    assert sorted(chosen) == ["a", "c"]
    rows = small_golden.table()
    own = set(small_golden.recorded())
    assert {row["backbone_in"] for row in rows} | {row["rest_in"] for row in rows} == own


@pytest.mark.parametrize("recipe, size", [("ssd512", (260, 260)), ("atss_r50_fpn_1x", (128, 192))])
def test_images_are_small(recipe, size):
    assert small_golden.size(recipe) == size


def test_models_that_take_long_get_few_regions():
    assert small_golden.proposals("tridentnet_r50_caffe_1x") == (16, 32)
    assert small_golden.proposals("faster_rcnn_r50_fpn_1x") is None


def test_reasons_are_kept_of_what_is_missing_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(small_golden, "FOLDER", tmp_path)
    monkeypatch.setattr(small_golden, "MISSING", tmp_path / "missing.json")
    small_golden.note_missing({"a": "too slow", "b": "noise"})
    (tmp_path / "a.npz").touch()
    small_golden.note_missing({"c": "no detections"})
    assert small_golden.missing() == {"b": "noise", "c": "no detections"}


def test_ops_with_two_forms_are_noted_with_their_callers():
    boxes = tf.constant([[[0.0, 0.0, 4.0, 4.0]]])

    def suppress():
        return ops.nms(boxes, boxes[..., 0], iou_threshold=0.5, max_output=1)

    with ops.use("portable"), small_golden.uses_of_ops() as uses:
        suppress()
        suppress()
    assert uses == {("nms", __file__, "suppress")}
