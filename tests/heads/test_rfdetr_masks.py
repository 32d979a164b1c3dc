"""RF-DETR's masks in small: products with a map, points of matching and losses, sizes, names."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert, ops
from kdet.assigners import MaskHungarianAssigner
from kdet.backbones import WindowedDINOv2
from kdet.convert.safetensors import write_safetensors
from kdet.detectors import MaskDetectionTransformer, Preprocessor
from kdet.heads.query import LWDETRDecoder, PointMaskLosses, RFDETRMaskHead
from kdet.heads.query.mask_criterion import most_uncertain
from kdet.losses import CrossEntropyLoss, DiceLoss
from kdet.necks import RFDETRProjector
from tests.heads.test_lwdetr import GROUPS, RF, criterion, of_the_repository, scrambled
from tests.heads.test_rtdetr import INFO, TARGETS


def rectangles(boxes, height=64, width=96):
    """Packed masks of boxes ``[B,G,4]``."""
    y, x = np.arange(height)[:, None], np.arange(width)
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes)[..., None, None], 2, 0)
    return tf.constant(np.packbits((x >= x1) & (x < x2) & (y >= y1) & (y < y2), axis=-1))


WITH_MASKS = {**TARGETS, "masks": rectangles(TARGETS["boxes"])}


def rule():
    return PointMaskLosses(
        MaskHungarianAssigner(mask_weight=5.0, dice_weight=5.0),
        CrossEntropyLoss(use_sigmoid=True, loss_weight=5.0),
        DiceLoss(squared=False, epsilon=1.0, loss_weight=5.0),
    )


def small():
    """RF-DETR with masks: 16 channels, 5 queries in a group, 3 classes."""
    return MaskDetectionTransformer(
        backbone=WindowedDINOv2(16, 2, 2, layers_out=(1, 2), windows=2, patch=16, side=3),
        neck=RFDETRProjector(16, 1),
        bbox_head=RFDETRMaskHead(
            num_classes=3,
            num_queries=5,
            groups=GROUPS,
            decoder=LWDETRDecoder(16, 2, 4, 16, 2),
            criterion=criterion(),
            point_losses=rule(),
            mask_units=16,
        ),
        preprocessor=Preprocessor(size=(96, 64), keep_ratio=False, pad_divisor=32),
    )


@pytest.fixture(scope="module")
def model():
    return scrambled(small())


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(0).normal(size=(2, 64, 96, 3)), tf.float32)


def test_points_take_the_pixel_that_they_lie_in():
    masks = rectangles([[[1.0, 1, 3, 2], [0, 0, 8, 8]]], 3, 5)
    points = tf.constant(
        [[[[0.9, 1.5], [1.1, 1.5], [2.9, 1.9], [2.5, 2.1]], [[-0.6, 1.0], [4.9, 2.9], [5.6, 1], [1, 3.6]]]]
    )
    found = ops.packed_masks_at(masks, points, tf.constant([[0, 1]]))
    np.testing.assert_array_equal(found[0, 0], [0, 1, 1, 0])
    np.testing.assert_array_equal(found[0, 1], [0, 1, 0, 0])


def test_the_most_uncertain_points_are_those_nearest_to_the_edge():
    column = tf.constant(np.linspace(-4, 4, 9), tf.float32)
    masks = tf.tile(column[None, None, :, None], [1, 2, 1, 1])
    points = tf.constant([[[0.1, 0.5], [0.5, 0.4], [0.9, 0.5], [0.6, 0.5]]])
    np.testing.assert_allclose(most_uncertain(masks, points, 2), [[[0.5, 0.4], [0.6, 0.5]]])


def test_costs_at_points_are_those_of_the_whole_masks(model, images):
    head, losses = model.bbox_head, rule()
    outputs = model.outputs(images, INFO, training=True)
    one, drawn = outputs.masks[0], []
    own = losses.random_points
    losses.random_points = lambda *args: drawn.append(own(*args)) or drawn[-1]
    found = losses.costs(0, *one[::-1], head.bias() + 0.5, WITH_MASKS, (64, 96), tf.constant([1, 2]))
    points = tf.repeat(drawn[0], 2, 0)
    assert points.shape == (2, 2 * 5 * GROUPS // 4, 2)
    masks = tf.transpose(head.logits_of(one) + 0.5, [0, 2, 3, 1])
    rows = tf.constant([[0, 1]] * 2)
    truth = losses.truth_at(tf.repeat(points[:, None], 2, 1), rows, WITH_MASKS, (64, 96))
    wanted = losses.assigner.mask_costs(ops.point_sample(masks, points), truth)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert 0.1 < truth.numpy().mean() < 0.9


def test_losses_of_all_layers_and_cells(model, images):
    with tf.GradientTape() as tape:
        losses = model.forward_losses(images, INFO, WITH_MASKS)
        total = tf.add_n(list(losses.values()))
    terms = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask_ce", "loss_mask_dice")
    assert set(losses) == {term + end for term in terms for end in ("", "_0", "_enc")}
    assert all(np.isfinite(value) and value > 0.0 for value in losses.values())
    gradients = tape.gradient(total, model.trainable_variables)
    assert not [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]


def test_a_batch_without_objects_trains_and_one_without_masks_is_refused(model, images):
    empty = {"boxes": tf.zeros([2, 2, 4]), "labels": tf.fill([2, 2], -1)}
    masks = {"masks": tf.zeros([2, 2, 64, 12], tf.uint8)}
    losses = model.forward_losses(images, INFO, {**empty, **masks})
    assert all(np.isfinite(value) for value in losses.values())
    assert losses["loss_mask_ce"] == losses["loss_mask_dice"] == 0.0
    with pytest.raises(ValueError, match=r"data\.train\.masks: true"):
        model.forward_losses(images, INFO, TARGETS)


def test_masks_are_as_large_as_their_images(model, images):
    sizes = {"original_size": tf.constant([[32.0, 48.0], [100.0, 70.0]]), "scale": tf.ones([2, 2])}
    found = model.detect(images, {**INFO, **sizes})
    assert found["masks"].shape == (2, 5, 100, 70) and found["masks"].dtype == tf.uint8
    masks = found["masks"].numpy()
    assert masks[0, :, 32:].max() == masks[0, :, :, 48:].max() == 0
    assert 0.0 < masks[0, :, :32, :48].mean() < 1.0
    logits = model.bbox_head.logits_of(model.outputs(images, INFO).masks[-1])
    wanted = tf.image.resize(tf.transpose(logits, [0, 2, 3, 1]), [100, 70])[1] > 0
    same = [(masks[1] == wanted.numpy()[None, :, :, q]).mean((1, 2)) for q in range(5)]
    np.testing.assert_array_equal(np.max(same, 0), np.ones(5))
    one = model.image_masks({k: v[1].numpy() for k, v in found.items()}, 100, 70)
    assert one.dtype == bool and one.shape == (5, 100, 70)


def test_the_graph_finds_what_the_layers_find(model, images):
    pixels = tf.clip_by_value(images * 50.0 + 120.0, 0.0, 255.0)
    inside, outside = model.predict_on_batch(pixels), model(pixels)
    np.testing.assert_allclose(inside["scores"], outside["scores"], atol=1e-5)
    assert (inside["masks"] != outside["masks"].numpy()).mean() < 1e-3


SEGMENTATION = (
    (r"^segmentation_bias$", "segmentation_head.bias"),
    (r"^(blocks|spatial_features_proj|query_features_block|query_features_proj)\.", r"segmentation_head.\1."),
    (r"\.query_features_block\.mlp\.fc1\.", ".query_features_block.layers.0."),
    (r"\.query_features_block\.mlp\.fc2\.", ".query_features_block.layers.2."),
    (r"\.query_features_block\.norm\.", ".query_features_block.norm_in."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv\.", ".pwconv1."),
)


def test_names_are_those_of_transformers_and_of_the_repository(model, tmp_path):
    state = convert.state_dict(model)
    assert state.keys() >= {
        "segmentation_bias",
        "blocks.1.depthwise_conv.weight",
        "query_features_block.mlp.fc2.bias",
        "spatial_features_proj.weight",
        "model.class_embed.weight",
        "model.model.enc_output.2.weight",
        "model.model.backbone.backbone.layernorm.weight",
        "model.model.backbone.projector.layer_norm.weight",
    }
    assert state["blocks.0.depthwise_conv.weight"].shape == (16, 1, 3, 3)
    theirs = of_the_repository(state, (*RF, *SEGMENTATION))
    assert not [name for name in theirs if re.match(r"(model|blocks|query_features)\.", name)]
    assert "segmentation_head.blocks.0.norm.weight" in theirs
    write_safetensors(tmp_path / "theirs.safetensors", theirs, {})
    other = small()
    assert convert.load_file(other, tmp_path / "theirs.safetensors").filled == len(state)
    for name, value in convert.state_dict(other).items():
        np.testing.assert_array_equal(value, state[name])
