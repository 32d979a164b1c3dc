import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from kdet import ops
from kdet.data import masks as instance_masks


def expected(segmentations, height, width):
    return np.stack([np.packbits(instance_masks.rasterize(s, height, width), axis=-1) for s in segmentations])


def random_polygons(rng, count, decimals, scale):
    """Objects of one to three polygons, some self-intersecting, some reaching off the image."""
    return [
        [
            np.round(rng.uniform(-0.2, 1.2, 2 * rng.randint(3, 9)) * scale, decimals).tolist()
            for _ in range(rng.randint(1, 4))
        ]
        for _ in range(count)
    ]


def test_equals_the_reference(golden, form):
    case = golden("polygons")
    polygons = tf.RaggedTensor.from_nested_row_lengths(
        case["points"], [case["polygons_of_object"], case["points_of_polygon"]]
    )
    np.testing.assert_array_equal(ops.rasterize_polygons(polygons, 90, 133), case["masks"])


@pytest.mark.parametrize("decimals", [0, 1, 2, 9])
def test_equals_pycocotools(form, decimals):
    segmentations = random_polygons(np.random.RandomState(decimals), 120, decimals, 45)
    found = ops.rasterize_polygons(ops.polygons_of(segmentations), 37, 45)
    np.testing.assert_array_equal(found, expected(segmentations, 37, 45))


def test_large_image(form):
    segmentations = random_polygons(np.random.RandomState(5), 6, 2, 900)
    found = ops.rasterize_polygons(ops.polygons_of(segmentations), 640, 853)
    np.testing.assert_array_equal(found, expected(segmentations, 640, 853))


def test_by_hand(form):
    square = [2, 1, 5, 1, 5, 3, 2, 3]
    hole = [
        [2, 1, 10, 1, 10, 7, 2, 7, 2, 1, 4, 3, 8, 3, 8, 5, 4, 5, 4, 3]
    ]  # the inner ring runs the same way
    polygons = ops.polygons_of([[square], [], [[1, 1, 2, 2]], hole])
    found = np.unpackbits(ops.rasterize_polygons(polygons, 8, 12).numpy(), axis=-1, count=12)
    wanted = np.zeros((8, 12))
    wanted[1:3, 2:5] = 1
    np.testing.assert_array_equal(found[0], wanted)
    assert not found[1].any() and not found[2].any()  # no polygon; one of two points
    assert found[3, 1, 2] and not found[3, 3:5, 5:8].any()


def test_no_objects(form):
    assert ops.rasterize_polygons(ops.polygons_of([]), 5, 9).shape == (0, 5, 2)
    assert ops.rasterize_polygons(ops.polygons_of([[]]), 0, 0).shape == (1, 0, 0)


def test_merges_as_rle(form):
    """The union of an object's polygons is that of their run lengths."""
    parts = random_polygons(np.random.RandomState(7), 1, 1, 40)[0] + [[0, 0, 40, 0, 40, 40]]
    merged = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, 40, 48)))
    found = ops.rasterize_polygons(ops.polygons_of([parts]), 40, 48)
    np.testing.assert_array_equal(np.unpackbits(found.numpy()[0], axis=-1, count=48), merged)


def test_bad_polygons(form):
    with pytest.raises(ValueError, match="even length, not of 3"):
        ops.polygons_of([[[1.0, 2.0, 3.0]]])
    with pytest.raises(ValueError, match="float32"):
        ops.rasterize_polygons(tf.cast(ops.polygons_of([[[1, 2, 3, 4, 5, 6]]]), tf.float32), 8, 8)
    if form == "compiled":
        with pytest.raises(tf.errors.InvalidArgumentError, match="point 1 has a coordinate nan"):
            ops.rasterize_polygons(ops.polygons_of([[[1, 2, 3, np.nan, 5, 6]]]), 8, 8)
