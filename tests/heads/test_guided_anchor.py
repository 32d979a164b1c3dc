"""Guided anchoring: shapes and places of anchors, what the location loss counts, masks per image."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import ApproxMaxIoUAssigner, MaxIoUAssigner, RegionAssigner
from kdet.assigners.region import region_levels
from kdet.coders import DeltaXYWHCoder
from kdet.heads.dense import GARetinaHead, GARPNHead
from kdet.losses import BoundedIoULoss, CrossEntropyLoss, FocalLoss, SmoothL1Loss
from kdet.priors import AnchorGenerator
from kdet.samplers import RandomSampler

STRIDES = (4, 8)
SHAPES = [(8, 8), (4, 4)]


def head(kind=GARPNHead, strides=STRIDES, **arguments):
    return kind(
        filters=4,
        deform_groups=1,
        approx_generator=AnchorGenerator(STRIDES, octave_base_scale=2, scales_per_octave=3),
        anchor_generator=AnchorGenerator(strides, ratios=[1.0], scales=[2]),
        anchor_coder=DeltaXYWHCoder(stds=(0.1, 0.1, 0.5, 0.5), side_ratio=1e-6),
        coder=DeltaXYWHCoder(),
        loss_location=FocalLoss(),
        loss_shape=BoundedIoULoss(),
        loss_cls=CrossEntropyLoss(use_sigmoid=True),
        loss_bbox=SmoothL1Loss(),
        location_assigner=RegionAssigner(ignore_neighbors=True),
        shape_assigner=ApproxMaxIoUAssigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3),
        shape_sampler=RandomSampler(256, 0.5),
        assigner=MaxIoUAssigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3),
        **arguments,
    )


def info(batch):
    size = tf.fill([batch, 2], 32.0)
    return {
        "valid_size": size,
        "padded_size": size,
        "scale": tf.ones([batch, 2]),
        "seed": tf.constant([0, 0]),
    }


def maps(batch):
    draw = np.random.default_rng(0)
    return tuple(tf.constant(draw.normal(size=(batch, h, w, 4)), tf.float32) for h, w in SHAPES)


def test_shapes_stretch_squares_around_their_centers():
    squares = tf.constant([[-4.0, -4.0, 4.0, 4.0]])
    shapes = tf.constant([[[2 * math.log(2.0), 2 * math.log(100.0)]]])  # over deviations of 0.5
    anchors = head().guide(squares, shapes)
    # beyond the 62.5 that other coders allow
    np.testing.assert_allclose(anchors[0], [[-8.0, -400.0, 8.0, 400.0]], rtol=1e-5)


def test_neighboring_levels_of_an_object_are_left_out():
    generator = AnchorGenerator(STRIDES, ratios=[1.0], scales=[2])
    squares = tf.concat(generator(SHAPES), 0)
    # side 16 = the squares of the second level; half of it lies in 12..20, cells 3..5 of the first level
    targets = {"boxes": tf.constant([[[8.0, 8.0, 24.0, 24.0]]]), "labels": tf.constant([[0]])}
    found = RegionAssigner(ignore_neighbors=True)(squares, targets, True, **region_levels(generator, SHAPES))
    first, second = tf.split(found.weight[0], [64, 16])
    ignored = np.ones((8, 8))
    ignored[3:6, 3:6] = 0
    np.testing.assert_array_equal(tf.reshape(first, [8, 8]), ignored)
    assert np.flatnonzero(found.positive[0]).tolist() == [64 + 2 * 4 + 2]
    # 1.5 and 2.5 cells round to 2: the region around the middle is the middle
    assert float(tf.reduce_sum(second)) == 16.0


def test_regions_are_the_same_in_graphs():
    # corners of the regions lie half-way between cells, where rounding decides
    generator = AnchorGenerator((4, 8, 16), ratios=[1.0], scales=[8])
    shapes = [(32, 40), (16, 20), (8, 10)]
    squares, levels = tf.concat(generator(shapes), 0), region_levels(generator, shapes)
    boxes = tf.constant([[[10.0, 12.0, 50.0, 60.0], [30.0, 20.0, 60.0, 44.0], [4.0, 4.0, 150.0, 120.0]]])
    assigner = RegionAssigner(ignore_neighbors=True)

    def weights(boxes):
        return assigner(
            squares, {"boxes": boxes, "labels": tf.zeros([1, 3], tf.int32)}, True, **levels
        ).weight

    np.testing.assert_array_equal(tf.function(weights)(boxes), weights(boxes))


def test_every_image_is_masked_by_its_own_locations():
    layer, features = head(), maps(2)
    layer(features, info(2))
    layer.conv_loc.bias.assign([0.0])
    layer.location_threshold = 0.5
    layer.conv_cls.bias.assign([3.0])
    together = layer(features, info(2))
    for image in range(2):
        alone = layer(tuple(x[image : image + 1] for x in features), info(1))
        for both, own in zip(tf.nest.flatten(together), tf.nest.flatten(alone)):
            np.testing.assert_allclose(both[image], own[0], atol=1e-6)
        scores, locations = alone[0][0].numpy(), alone[3][0].numpy()
        assert 0 < (locations < 0).sum() < locations.size
        assert (scores[locations < 0] == 0.0).all() and (scores[locations > 0] != 0.0).all()
    expected = sum(int((x[0].numpy() >= 0).sum()) for x in together[3])
    layer.test_proposals.nms.iou_threshold = layer.train_proposals.nms.iou_threshold = 1.0
    assert int(layer.proposals(together, info(2))["num_detections"][0]) == expected
    everywhere = layer.proposals(layer(features, info(2), training=True), info(2), training=True)
    assert everywhere["num_detections"].numpy().tolist() == [80, 80]


def test_losses_are_finite_without_objects_and_shapes_learn_from_their_loss_only():
    layer, features = head(GARetinaHead, stacked_convs=1, num_classes=3), maps(2)
    layer(features, info(2))
    boxes = tf.constant([[[4.0, 4.0, 12.0, 14.0]], [[0.0, 0.0, 0.0, 0.0]]])
    targets = {"boxes": boxes, "labels": tf.constant([[1], [-1]])}
    with tf.GradientTape(persistent=True) as tape:
        losses = layer.compute_losses(layer(features, info(2), training=True), targets, info(2))
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_shape", "loss_loc"}
    assert all(np.isfinite(v) for v in losses.values())
    kernel = layer.conv_shape.kernel.value
    assert tape.gradient(losses["loss_cls"], kernel) is None
    assert float(tf.norm(tape.gradient(losses["loss_shape"], kernel))) > 0.0
    found = layer.decode(layer(features, info(2)), info(2))
    assert found["boxes"].shape[-1] == 4


def test_squares_and_approximations_must_share_their_grid():
    with pytest.raises(ValueError, match="strides of approx_generator"):
        head(strides=(4, 16))
