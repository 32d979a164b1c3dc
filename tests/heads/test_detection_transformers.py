"""Small DINO, DDQ-DETR, Conditional DETR and DAB-DETR: names, training, what queries may look at."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.assigners import HungarianAssigner
from kdet.config import Config
from kdet.contract import Assignment
from kdet.heads.query import NoisedQueries, NoiseDraws, OneToManyCriterion, QueryOutputs
from kdet.heads.query.ddq import Layout
from kdet.losses import GIoULoss, QualityFocalLoss
from verification.small import small_variant

RECIPES = ["dino-4scale_r50_12e", "ddq-detr-4scale_r50_12e", "conditional-detr_r50_50e", "dab-detr_r50_50e"]
SIZE = (96, 128)


def build(recipe):
    config = small_variant(Config.load(recipe), divide=8)
    config["model"]["backbone"]["base_channels"] = 16
    return config.build("model")


@pytest.fixture(scope="module")
def models():
    return {recipe: build(recipe) for recipe in RECIPES}


@pytest.fixture(params=RECIPES)
def model(request, models):
    return models[request.param]


@pytest.fixture
def dino(models):
    return models[RECIPES[0]]


def batch():
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(2, *SIZE, 3)), tf.float32)
    valid = tf.constant([[96.0, 128.0], [80.0, 100.0]])
    info = {
        "valid_size": valid,
        "scale": tf.ones([2, 2]),
        "original_size": valid,
        "seed": tf.constant([0, 1]),
    }
    targets = {
        "boxes": tf.constant([[[10.0, 10, 60, 50], [70, 20, 120, 90]], [[5, 5, 40, 70], [0, 0, 0, 0]]]),
        "labels": tf.constant([[0, 2], [1, -1]]),
    }
    return images, info, targets


def test_names_are_those_of_the_checkpoints(model):
    names = set(convert.state_dict(model))
    assert {"query_embedding.weight", "query_map.weight"} & names
    assert "decoder.layers.0.ffn.layers.0.0.weight" in names and "decoder.layers.0.norms.2.bias" in names
    assert not [name for name in names if "transformer" in name or "attentions" in name]
    assert all(name.startswith("bbox_head.") for name in names if "fc_cls" in name or "_branches" in name)


def test_detections(model):
    images, info, _ = batch()
    found = model.detect(images, info)
    assert found["boxes"].shape == (2, 100, 4) and found["labels"].shape == (2, 100)
    boxes = found["boxes"].numpy()
    assert (boxes[1] <= [100, 80, 100, 80]).all() and (boxes >= 0).all()
    assert np.isfinite(found["scores"]).all() and (np.diff(found["scores"].numpy()) <= 0).all()


def test_every_weight_learns(model):
    images, info, targets = batch()
    with tf.GradientTape() as tape:
        losses = model.forward_losses(images, info, targets)
        total = tf.add_n(list(losses.values()))
    layers = len(model.bbox_head.transformer.decoder.layers)
    noised, cells = 3 * layers, 3
    more = {"DINOHead": noised + cells, "DDQHead": noised + cells + 2 * (layers + 1)}
    assert len(losses) == 3 * layers + more.get(type(model.bbox_head).__name__, 0)
    assert all(np.isfinite(float(value)) for value in losses.values())
    variables = model.bbox_head.trainable_variables
    without = [
        v.path for v, g in zip(variables, tape.gradient(total, [v.value for v in variables])) if g is None
    ]
    assert not without


def test_batches_agree_with_single_images(model):
    images, info, _ = batch()
    both = model.detect(images, info)
    alone = model.detect(images[1:], {key: value[1:] for key, value in info.items() if key != "seed"})
    np.testing.assert_allclose(both["scores"][1], alone["scores"][0], rtol=1e-4, atol=1e-5)


def head_outputs(dino, targets):
    images, info, _ = batch()
    info = {**info, "canvas": tf.constant([96.0, 128.0])}
    features = dino.extract_features(images)
    return dino.bbox_head.outputs_for_losses(features, targets, info)


def test_matching_queries_see_no_noised_ones(dino):
    images, info, targets = batch()
    outputs = head_outputs(dino, targets)
    info = {**info, "canvas": tf.constant([96.0, 128.0])}
    plain = dino.bbox_head(dino.extract_features(images), info)
    assert isinstance(plain, QueryOutputs) and plain.noised is None
    np.testing.assert_allclose(outputs.logits, plain.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs.boxes, plain.boxes, rtol=1e-4, atol=1e-5)


def test_slots_out_of_use_change_nothing(dino, monkeypatch):
    def no_noise(seed, batch, slots, classes):
        zeros, ones = tf.zeros([batch, slots]), tf.ones([batch, slots])
        return NoiseDraws(ones, tf.cast(zeros, tf.int32), tf.ones([batch, slots, 4]), zeros[..., None])

    monkeypatch.setattr(dino.bbox_head.denoising, "draw", no_noise)
    _, info, targets = batch()
    wider = {
        "boxes": tf.pad(targets["boxes"], [[0, 0], [0, 148], [0, 0]]),
        "labels": tf.pad(targets["labels"], [[0, 0], [0, 148]], constant_values=-1),
    }
    few, many = head_outputs(dino, targets), head_outputs(dino, wider)
    assert few.noised[1].shape[2] == 100 and many.noised[1].shape[2] == 300
    losses = dino.bbox_head.compute_losses(few, targets, info)
    again = dino.bbox_head.compute_losses(many, wider, info)
    assert {"dn_loss_cls", "d0.dn_loss_bbox", "enc_loss_iou"} < set(losses)
    for name, value in losses.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4, err_msg=name)


def test_a_batch_without_objects(dino):
    images, info, targets = batch()
    empty = {**targets, "labels": tf.fill([2, 2], -1)}
    losses = dino.forward_losses(images, info, empty)
    assert float(losses["dn_loss_cls"]) == 0.0 and float(losses["loss_bbox"]) == 0.0
    assert float(losses["loss_cls"]) > 0.0


def test_what_noised_queries_start_from(dino):
    images, info, targets = batch()
    queries = dino.bbox_head.denoising(targets, info, dino.num_classes)
    contents, places = dino.bbox_head.noised_queries(queries, tf.float32)
    real = queries.real.numpy()
    np.testing.assert_allclose(
        places.numpy()[real], np.clip(queries.boxes.numpy()[real], 1e-3, 1 - 1e-3), atol=1e-5
    )
    assert (places.numpy()[~real] == 0.5).all() and not contents.numpy()[~real].any()
    table = dino.bbox_head.label_embedding.weight.numpy()
    np.testing.assert_array_equal(contents.numpy()[real], table[queries.labels.numpy()[real]])


def ddq_layout(count, dense):
    noised = NoisedQueries(
        labels=tf.zeros([1, 3], tf.int32),
        boxes=tf.zeros([1, 3, 4]),
        group=tf.constant([0, 1, -1]),
        assignment=Assignment(tf.zeros([1, 3], tf.int32), tf.ones([1, 3])),
    )
    return Layout(tf.constant(count), noised, dense)


def test_what_ddq_queries_see():
    seen = ddq_layout(3, 2).visible(tf.constant([[True, False, False]]))[0].numpy()
    assert seen[:3, 3:6].all() and not seen[3:, :3].any()  # noised queries see matching ones, not the reverse
    assert seen[3, 3:6].all()  # a kept one sees all
    assert seen[4, 3:6].tolist() == seen[5, 3:6].tolist() == [True, False, False]
    assert seen[6:, 6:].all() and not seen[6:, :6].any() and not seen[:6, 6:].any()


def test_ddq_keeps_the_better_of_two_equal_boxes(models):
    head = models["ddq-detr-4scale_r50_12e"].bbox_head
    boxes = tf.constant([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.2, 0.21]]])
    assert head.kept(boxes, tf.constant([[0.3, 0.1, 0.4]])).numpy().tolist() == [[False, True, True]]
    # what is no candidate suppresses nothing
    assert head.kept(boxes, tf.constant([[0.3, 0.1, -1.0]])).numpy().tolist() == [[True, True, False]]


def test_a_dense_object_has_its_cheapest_predictions():
    criterion = OneToManyCriterion(
        HungarianAssigner(cls_weight=2.0, focal=True, corners=True),
        QualityFocalLoss(from_logits=False),
        GIoULoss(loss_weight=2.0),
        matches=2,
    )
    info = {"valid_size": tf.constant([[100.0, 100.0]])}
    targets = {"boxes": tf.constant([[[20.0, 20, 60, 60]]]), "labels": tf.constant([[1]])}
    boxes = tf.constant(
        [[[[0.4, 0.4, 0.4, 0.4], [0.9, 0.9, 0.1, 0.1], [0.4, 0.4, 0.4, 0.3], [0.1, 0.9, 0.1, 0.1]]]]
    )
    logits = tf.zeros([1, 1, 4, 3])
    (found,) = criterion.assign(tf.sigmoid(logits), boxes, targets, tf.constant([[[100.0] * 4]]))
    assert found.gt_index.numpy().tolist() == [[0, -1, 0, -1]]
    (losses,) = criterion(logits, boxes, targets, info)
    # the best fits by its IoU 1, the other by 0.75^6; both have the score 0.5
    fit = np.array([1.0, 0.75**6])
    assert float(losses["loss_bbox"]) == pytest.approx(2 * fit[1] * 0.25 / fit.sum(), rel=1e-4)
    entropy = np.log(2)
    positive, negative = entropy * np.square(0.5 - fit), (4 * 3 - 2) * entropy * 0.25
    assert float(losses["loss_cls"]) == pytest.approx((positive.sum() + negative) / fit.sum(), rel=1e-4)


def test_a_dense_image_without_objects_loses_nothing():
    criterion = OneToManyCriterion(
        HungarianAssigner(focal=True, corners=True), QualityFocalLoss(from_logits=False), GIoULoss()
    )
    targets = {"boxes": tf.zeros([1, 1, 4]), "labels": tf.constant([[-1]])}
    boxes = tf.fill([1, 1, 5, 4], 0.5)
    (losses,) = criterion(tf.zeros([1, 1, 5, 3]), boxes, targets, {"valid_size": tf.constant([[9.0, 9.0]])})
    assert float(losses["loss_cls"]) == float(losses["loss_bbox"]) == 0.0
