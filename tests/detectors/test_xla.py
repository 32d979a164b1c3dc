"""XLA compiles one model of every shape of detector, with the numbers that there are without it."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.backbones import resnet
from kdet.config import Config
from verification import xla
from verification.contract import Subject
from verification.small import small_variant

DETECT = [
    "cascade_mask_rcnn_r50_fpn_1x",
    "faster_rcnn_r50_fpn_dpool_1x",
    "rpn_r50_fpn_1x",
    "fcos_r50_caffe_fpn_gn-head_1x",
    "ssd300",
    "yolov3_d53_mstrain-416_273e",
    "cornernet_hourglass104_mstest_8x6_210e",
    "grid_rcnn_r50_fpn_gn-head_2x",
    "yolact_r50_1x8",
    "deformable_detr_r50_16x2_50e",
]
LEARN = ["mask_rcnn_r50_fpn_1x", "sparse_rcnn_r50_fpn_1x"]
# whose shapes are looked at, which takes as long again
STATIC = ["faster_rcnn_r50_fpn_dpool_1x", "mask_rcnn_r50_fpn_1x"]


def subject(recipe):
    """The least that still has the recipe's parts: one block per stage, few channels, small images."""
    config = small_variant(Config.load(recipe), divide=8)
    backbone = config["model"]["backbone"]
    if backbone.get("depth") == 18:
        resnet.DEPTHS.setdefault(10, (False, (1, 1, 1, 1)))
        backbone.update(depth=10, base_channels=16)
    return Subject(config, size=(64, 96))


@pytest.mark.parametrize("recipe", DETECT)
def test_detections(recipe):
    assert xla.same_detections(subject(recipe), static=recipe in STATIC) > 0


@pytest.mark.parametrize("recipe", LEARN)
def test_training_step(recipe):
    assert xla.same_step(subject(recipe), static=recipe in STATIC) > 0


@pytest.fixture(scope="module")
def fitted():
    """A small RetinaNet that is trained by XLA, and a batch for it."""
    one = subject("retinanet_r18_fpn_1x")
    one.model.compile(optimizer=tf.keras.optimizers.SGD(1e-3), jit_compile=True)
    return one.model, one.inputs, xla.targets_of(one)


def test_fit_is_one_program(fitted):
    model, inputs, targets = fitted
    assert model.supports_jit and model.jit_compile
    before = model.bbox_head.retina_cls.kernel.numpy()
    first = model.train_on_batch(inputs, targets, return_dict=True)
    second = model.train_on_batch(inputs, targets, return_dict=True)
    assert np.isfinite(first["loss"]) and second["loss"] != first["loss"]
    assert np.abs(model.bbox_head.retina_cls.kernel.numpy() - before).max() > 0


def test_a_step_that_is_no_number_changes_nothing_and_is_named(fitted):
    model, inputs, targets = fitted
    step = int(model.optimizer.iterations)
    kernel, bias = model.bbox_head.retina_cls.kernel, model.bbox_head.retina_cls.bias
    good = bias.numpy()
    bias.assign(tf.fill(bias.shape, float("nan")))
    before = kernel.numpy()
    with pytest.raises(FloatingPointError, match="loss_cls is NaN or infinite"):
        model.train_on_batch(inputs, targets)
    np.testing.assert_array_equal(kernel, before)
    assert int(model.optimizer.iterations) == step
    bias.assign(good)


def test_a_detector_that_cannot_be_compiled_says_so(fitted, monkeypatch):
    model, _, _ = fitted
    model.compile(optimizer="sgd")
    monkeypatch.setattr(model, "supports_jit", False)
    with pytest.raises(ValueError, match="cannot be compiled by XLA"):
        model.compile(optimizer="sgd", jit_compile=True)
    assert not model.jit_compile
