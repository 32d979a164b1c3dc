import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def test_crop_equals_the_reference(golden, form):
    check_crop(golden, None)


def test_crop_under_xla(golden, portable):
    check_crop(golden, True)


def check_crop(golden, jit_compile):
    case = golden("masks")
    packed = np.packbits(case["masks"], axis=-1)
    packed = np.stack([packed[::-1], packed])
    boxes = np.stack([case["boxes"][::-1], case["boxes"]])
    index = np.stack([2 - case["index"][::-1], case["index"]])
    crop = tf.function(ops.crop_masks, jit_compile=jit_compile)
    targets = crop(packed, boxes, index, 28).numpy()
    expected = np.unpackbits(case["targets"], axis=-1, count=28)
    np.testing.assert_array_equal(targets[0], expected[::-1])
    np.testing.assert_array_equal(targets[1], expected)


def test_crop_by_hand(form):
    mask = np.zeros((1, 1, 8, 16), np.uint8)
    mask[..., 2:6, 4:12] = 1
    packed = np.packbits(mask, axis=-1)
    boxes = np.array([[[4, 2, 12, 6], [0, 0, 4, 2], [4, 2, 12, 6], [5, 5, 5, 5]]], np.float32)
    targets = ops.crop_masks(packed, boxes, [[0, 0, -1, 0]], (2, 4)).numpy()[0]
    assert targets[0].all() and not targets[1:].any()


def test_crop_of_nothing(form):
    packed = np.zeros((2, 3, 8, 2), np.uint8)
    assert ops.crop_masks(packed, tf.zeros([2, 0, 4]), tf.zeros([2, 0], tf.int32), 28).shape == (2, 0, 28, 28)
    of_none = ops.crop_masks(packed[:, :0], tf.ones([2, 3, 4]), tf.fill([2, 3], -1), 7)
    assert of_none.shape == (2, 3, 7, 7) and not np.any(of_none)


def test_unpack():
    bits = np.random.RandomState(0).randint(0, 2, (3, 24)).astype(np.uint8)
    np.testing.assert_array_equal(ops.unpack_bits(np.packbits(bits, axis=-1)), bits)


def test_paste_equals_the_reference(golden, form):
    case = golden("masks")
    pasted = ops.paste_masks(case["probabilities"][None], case["boxes"][None], 90, 133)[0]
    np.testing.assert_allclose(pasted, case["pasted"], atol=1e-3)  # recorded in float16
    binary = np.unpackbits(case["pasted_binary"], axis=-1, count=133).astype(bool)
    tensor = ops.paste_masks(case["probabilities"][None], case["boxes"][None], 90, 133, threshold=0.5)[0]
    array = ops.paste_masks_numpy(case["probabilities"], case["boxes"], 90, 133)
    # A pixel within rounding of the threshold may fall on either side.
    assert (tensor.numpy() != binary).sum() <= 2
    assert (array != binary).sum() <= 2


def test_paste_leaves_padding_empty(form):
    masks, boxes = np.ones((1, 2, 4, 4), "f"), np.array([[[0, 0, 0, 0], [1, 1, 3, 3]]], "f")
    pasted = ops.paste_masks(masks, boxes, 6, 6, threshold=0.5).numpy()[0]
    assert not pasted[0].any() and pasted[1].sum() == 4
    np.testing.assert_array_equal(ops.paste_masks_numpy(masks[0], boxes[0], 6, 6), pasted)
    with pytest.raises(ValueError, match="above 0"):
        ops.paste_masks_numpy(masks[0], boxes[0], 6, 6, threshold=-1)


def test_boxes_without_width_on_the_middle_of_a_pixel_paste_nothing(form):
    boxes = tf.constant([[[2.5, 1.0, 2.5, 4.0], [1.0, 2.5, 4.0, 2.5]]])
    assert not ops.paste_masks(tf.ones([1, 2, 4, 4]), boxes, 5, 5).numpy().any()
    assert not ops.paste_masks_numpy(np.ones([2, 4, 4]), boxes[0], 5, 5).any()


def test_paste_by_hand(form):
    masks = tf.constant([[[[0.0, 1.0]]]])  # one row of two cells
    pasted = ops.paste_masks(masks, [[[2.0, 1.0, 6.0, 3.0]]], 4, 8).numpy()[0, 0]
    row = [0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0]  # the values fall off to 0 beyond the cells' centers
    np.testing.assert_allclose(pasted, np.array([0.25, 0.75, 0.75, 0.25])[:, None] * row, atol=1e-6)
    found = ops.paste_masks(masks, [[[2.0, 1.0, 6.0, 3.0]]], 4, 8, threshold=0.5).numpy()[0, 0]
    np.testing.assert_array_equal(found, pasted >= 0.5)


def test_paste_of_nothing(form):
    assert ops.paste_masks(tf.zeros([2, 0, 4, 4]), tf.zeros([2, 0, 4]), 5, 6, threshold=0.5).shape == (
        2,
        0,
        5,
        6,
    )
    assert ops.paste_masks(tf.ones([1, 1, 4, 4]), tf.ones([1, 1, 4]), 0, 0).shape == (1, 1, 0, 0)
    everywhere = ops.paste_masks(tf.zeros([1, 1, 2, 2]), tf.zeros([1, 1, 4]), 3, 3, threshold=0.0)
    assert everywhere.numpy().all()


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_paste_of_a_cell_that_is_no_number(form, threshold):
    """It shows where it is seen, and nowhere else."""
    masks = np.full((1, 2, 4, 4), 0.75, np.float32)
    boxes = np.array([[[0, 0, 8, 8], [1, 1, 9, 7]]], np.float32)
    expected = ops.paste_masks(masks, boxes, 10, 10, threshold).numpy()
    masks[0, 0, 0, 0] = np.nan
    pasted = ops.paste_masks(masks, boxes, 10, 10, threshold).numpy()
    seen = np.zeros(pasted.shape, bool)
    seen[0, 0, :3, :3] = True  # cells are two pixels wide: from the third pixel on the next two count
    np.testing.assert_array_equal(pasted[~seen], expected[~seen])
    assert not pasted[seen].any() if threshold else np.isnan(pasted[seen]).all()
