"""RT-DETR and RT-DETRv2 in small: names, queries, denoising, losses, files, exports."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.assigners import HungarianAssigner
from kdet.backbones import ResNetVd
from kdet.detectors import DetectionTransformer, Preprocessor
from kdet.heads.query import QualityCriterion, RTDETRDecoder, RTDETRHead, RTDETRv2Decoder
from kdet.heads.query.denoising import ContrastiveDenoising
from kdet.heads.query.rtdetr import cell_anchors
from kdet.layers import inference
from kdet.losses import GIoULoss, L1Loss, MatchedVarifocalLoss
from kdet.necks import HybridEncoder

INFO = {
    "valid_size": tf.constant([[64.0, 96.0]] * 2),
    "original_size": tf.constant([[32.0, 48.0]] * 2),
    "scale": tf.constant([[2.0, 2.0]] * 2),
    "seed": tf.constant([0, 0]),
}
TARGETS = {
    "boxes": tf.constant([[[8.0, 8, 40, 40], [50, 20, 90, 60]], [[0.0, 0, 30, 20], [0, 0, 0, 0]]]),
    "labels": tf.constant([[0, 2], [1, -1]]),
}


def small(decoder=RTDETRDecoder, **kwargs):
    """A detector of 16 channels with 10 queries and 3 classes."""
    return DetectionTransformer(
        backbone=ResNetVd(18, base_channels=8, norm={"kind": "bn", "trainable": False}),
        neck=HybridEncoder(3, 16, num_heads=2, ffn_units=16, blocks=1, expansion=0.5),
        bbox_head=RTDETRHead(
            num_classes=3,
            num_queries=10,
            decoder=decoder(num_classes=3, units=16, num_heads=2, ffn_units=16, num_layers=2, **kwargs),
            denoising=ContrastiveDenoising(num_queries=4),
            criterion=QualityCriterion(
                assigner=HungarianAssigner(2.0, 5.0, 2.0, focal=True),
                loss_cls=MatchedVarifocalLoss(),
                loss_bbox=L1Loss(loss_weight=5.0),
                loss_iou=GIoULoss(loss_weight=2.0),
            ),
        ),
        preprocessor=Preprocessor([0.0] * 3, [255.0] * 3, size=(96, 64), keep_ratio=False),
    )


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(0).normal(size=(2, 64, 96, 3)), tf.float32)


def test_anchors_of_cells_at_the_border_are_invalid():
    anchors, inside = cell_anchors([(2, 4), (1, 2)])
    assert inside.numpy().all()
    np.testing.assert_allclose(tf.sigmoid(anchors)[0, 1], [0.375, 0.25, 0.05, 0.05], atol=1e-6)
    np.testing.assert_allclose(tf.sigmoid(anchors)[0, 9], [0.75, 0.5, 0.1, 0.1], atol=1e-6)
    anchors, inside = cell_anchors([(64, 2)])
    assert inside.numpy().sum() == 2 * 62 and (anchors.numpy()[~inside.numpy()[..., 0]] > 3e38).all()


def test_names_are_those_of_transformers(model, tmp_path):
    names = set(convert.torch_items(model))
    assert names >= {
        "model.backbone.model.embedder.embedder.0.convolution.weight",
        "model.backbone.model.encoder.stages.0.layers.0.shortcut.normalization.running_var",
        "model.backbone.model.encoder.stages.1.layers.0.shortcut.1.convolution.weight",
        "model.backbone.model.encoder.stages.3.layers.1.layer.1.normalization.bias",
        "model.encoder_input_proj.2.1.running_mean",
        "model.encoder.aifi.0.layers.0.self_attn.o_proj.weight",
        "model.encoder.fpn_blocks.1.bottlenecks.0.conv2.norm.weight",
        "model.denoising_class_embed.weight",
        "model.enc_output.1.bias",
        "model.decoder_input_proj.0.0.weight",
        "model.decoder.layers.1.encoder_attn.sampling_offsets.bias",
        "model.decoder.query_pos_head.layers.1.weight",
        "model.decoder.bbox_embed.1.layers.2.bias",
    }
    assert all(name.startswith("model.") for name in names)
    # a file may list the prediction layers a second time, or under the second name alone
    state = convert.state_dict(model)
    again = {name.removeprefix("model.decoder."): v for name, v in state.items() if "_embed." in name}
    again = {name: value for name, value in again.items() if not name.startswith("model.")}
    assert convert.load_state_dict(model, {**state, **again}).filled == len(state)
    alone = {k: value for k, value in state.items() if k.removeprefix("model.decoder.") not in again}
    assert convert.load_state_dict(model, {**alone, **again}).filled == len(state)
    convert.save_checkpoint(model, tmp_path / "model.safetensors")
    other = small()
    assert convert.load_file(other, tmp_path / "model.safetensors").filled == len(state)
    for name, value in convert.state_dict(other).items():
        np.testing.assert_array_equal(value, state[name])


def test_files_of_older_transformers_have_other_names(model):
    state, older = convert.state_dict(model), {}
    for name in state:
        old = name.replace(".o_proj.", ".out_proj.").replace(".mlp.fc", ".fc")
        older[old.replace("encoder.aifi.", "encoder.encoder.")] = name
    report = convert.load_state_dict(model, {old: state[name] for old, name in older.items()})
    renamed = {old: name for old, name in older.items() if old != name}
    assert report.filled == len(state) and len(renamed) > 20
    assert report.renamed == renamed


def test_backbone_norms_do_not_train_by_the_recipe(model):
    trained = {id(v) for v in model.trainable_weights}
    slots = convert.torch_items(model)
    for name, slot in slots.items():
        learns = all(id(v) in trained for v in slot.variables)
        fixed = ".normalization." in name or ".running_" in name
        assert learns != fixed, name


def test_noised_queries_do_not_reach_the_others(model, images):
    head, info = model.bbox_head, {**INFO, "canvas": tf.constant([64.0, 96.0])}
    features = model.extract_features(images)
    alone = head(features, info)
    both = head(features, info, targets=TARGETS)
    assert both.noised[1].logits[0].shape == (2, 8, 3) and both.layers.logits[0].shape == (2, 10, 3)
    for one, other in zip(alone.layers.boxes, both.layers.boxes):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_losses_of_all_layers_cells_and_noised_queries(model, images):
    with tf.GradientTape() as tape:
        losses = model.forward_losses(images, INFO, TARGETS)
        total = tf.add_n(list(losses.values()))
    terms = ("loss_vfl", "loss_bbox", "loss_giou")
    ends = ("", "_aux_0", "_aux_1", "_dn_0", "_dn_1")
    assert set(losses) == {term + end for term in terms for end in ends}
    assert all(np.isfinite(value) for value in losses.values())
    gradients = tape.gradient(total, model.trainable_variables)
    unused = [v.path for v, g in zip(model.trainable_variables, gradients) if g is None]
    assert not unused


def test_a_batch_without_objects_trains(model, images):
    empty = {"boxes": tf.zeros([2, 2, 4]), "labels": tf.fill([2, 2], -1)}
    losses = model.forward_losses(images, INFO, empty)
    assert all(np.isfinite(value) for value in losses.values())
    assert losses["loss_bbox"] == 0.0 and losses["loss_vfl"] > 0.0


def test_detections_lie_in_original_pixels(model):
    found = model({**{k: INFO[k] for k in ("valid_size", "original_size", "scale")},
                   "images": tf.zeros([2, 64, 96, 3], tf.uint8)})  # fmt: skip
    assert found["boxes"].shape == (2, 10, 4) and found["scores"].shape == (2, 10)
    assert np.all(np.diff(found["scores"].numpy()) <= 0)
    assert found["boxes"].numpy().max() < 60


@pytest.mark.parametrize("method", ["default", "discrete"])
def test_version_two_has_a_table_of_points(method):
    model = small(RTDETRv2Decoder, points=(2, 3, 2), method=method)
    slots = convert.torch_items(model)
    scale = slots["model.decoder.layers.0.encoder_attn.n_points_scale"].numpy()
    np.testing.assert_allclose(scale, [1 / 2] * 2 + [1 / 3] * 3 + [1 / 2] * 2)
    with inference():
        found = model.detect(tf.ones([1, 64, 96, 3]), {k: v[:1] for k, v in INFO.items() if k != "seed"})
    assert np.isfinite(found["boxes"]).all()


def test_xla_compiles_the_losses(model, images):
    step = tf.function(lambda x: model.forward_losses(x, INFO, TARGETS), jit_compile=True)
    wanted = model.forward_losses(images, INFO, TARGETS)
    for name, value in step(images).items():
        assert float(value) == pytest.approx(float(wanted[name]), rel=1e-3), name
