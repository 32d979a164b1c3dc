"""RTMDet-Ins and the networks that points predict."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import convert, ops
from kdet.config import Config
from kdet.heads.mask.dynamic import DynamicConvs, chosen_rows
from verification.small import small_variant


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return small_variant(Config.load("rtmdet-ins_tiny_300e")).build("model")


def test_a_predicted_network_sees_where_pixels_lie():
    convs = DynamicConvs(in_channels=3, channels=2, depth=2, stride=4, offset=0.0)
    assert convs.shapes == [(2, 5), (1, 2)] and convs.count == 15
    random = np.random.default_rng(0)
    common, predicted = random.normal(size=(1, 2, 3, 3)), random.normal(size=(1, 1, 15))
    point, reach = np.array([9.0, 6.0]), 16.0
    found = convs.masks(*(tf.constant(np.float32(x)) for x in (common, predicted, [[point]], [[reach]])))
    numbers = predicted[0, 0]
    first, last = numbers[:10].reshape(2, 5), numbers[10:12]
    for y in range(2):
        for x in range(3):
            inputs = np.concatenate([(point - [4 * x, 4 * y]) / reach, common[0, y, x]])
            wanted = last @ np.maximum(first @ inputs + numbers[12:14], 0) + numbers[14]
            assert float(found[0, 0, y, x]) == pytest.approx(wanted, rel=1e-4)


def test_chosen_rows_are_as_many_as_the_most_of_an_image():
    wanted = tf.constant([[False, True, False, True, True], [False, False, True, False, False]])
    rows, real = chosen_rows(wanted, 10)
    assert rows.numpy()[0].tolist() == [1, 3, 4] and real.numpy().sum(1).tolist() == [3, 1]
    assert rows.numpy()[1, 0] == 2
    assert chosen_rows(wanted, 2)[0].shape == (2, 2)


def test_masks_are_read_from_their_bits():
    mask = np.random.default_rng(0).integers(0, 2, (1, 2, 9, 11)).astype(np.uint8)
    packed = tf.constant(np.packbits(mask, axis=-1))
    found = ops.strided_masks(packed, 4, tf.constant([3, 5])).numpy()
    np.testing.assert_array_equal(found[..., :2, :3], mask[..., 2::4, 2::4])
    assert not found[..., 2:, :].any() and not found[..., 4:].any()


def test_boxes_come_from_the_tower_of_classes(model):
    head = model.bbox_head
    assert head.reg_convs[1][0] is head.cls_convs[1][0]
    assert head.kernel_convs[0][0].conv is not head.kernel_convs[1][0].conv
    state = convert.state_dict(model)
    names = [f"bbox_head.{part}_convs.2.1.bn.weight" for part in ("cls", "reg")]
    assert np.array_equal(state[names[0]], state[names[1]])
    convert.load_state_dict(model, state)


def test_masks_have_the_size_of_the_image(model):
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    info = {"images": images, "valid_size": np.float32([[64, 96]]), "original_size": np.float32([[128, 192]])}
    head = model.bbox_head
    before, head.postprocess.score_threshold = head.postprocess.score_threshold, 0.0
    found = model({**info, "scale": np.float32([[0.5, 0.5]])})
    head.postprocess.score_threshold = before
    assert found["masks"].shape == (1, 100, 128, 192) and found["masks"].dtype == tf.uint8
    padding = found["labels"].numpy()[0] < 0
    assert not found["masks"].numpy()[0][padding].any()


def test_masks_are_learned_from_masks_alone(model):
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    boxes = np.float32([[[4, 4, 40, 40]], [[30, 20, 90, 60]]])
    masks = np.zeros((2, 1, 64, 96), np.uint8)
    masks[0, 0, 4:40, 4:40], masks[1, 0, 20:60, 30:90] = 1, 1
    targets = {"boxes": boxes, "labels": np.int32([[0], [2]]), "masks": np.packbits(masks, axis=-1)}
    with tf.GradientTape() as tape:
        loss = model.compute_losses(images, targets)["loss_mask"]
    assert 0 < float(loss) < 2
    gradients = tape.gradient(loss, model.bbox_head.mask_head.trainable_variables)
    assert all(np.isfinite(g).all() for g in gradients) and max(np.abs(g).max() for g in gradients) > 0
    del targets["masks"]
    with pytest.raises(ValueError, match=r"data\.train\.masks: true"):
        model.compute_losses(images, targets)
