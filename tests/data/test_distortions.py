"""The random transforms keep images, boxes and masks together and do what their names say."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import distortions, masks, transforms, windows
from tests.data.steps import steps


def sample_of(height=40, width=60):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {
        "image": tf.constant(image),
        "boxes": tf.constant([[4.0, 6, 24, 30], [40, 10, 56, 36]]),
        "labels": tf.constant([0, 1]),
        "objects": tf.range(2),
        "ignore_boxes": tf.constant([[0.0, 0, 5, 5]]),
        "proposals": tf.zeros([0, 4]),
        "scale": tf.ones([2]),
        "rows": tf.range(height),
        "columns": tf.range(width),
    }


def runs(transform, count=24, **options):
    """The outcomes of many seeds, as NumPy."""
    function = tf.function(transform)
    for i in range(count):
        yield {k: v.numpy() for k, v in function(sample_of(**options), tf.constant([7, i])).items()}


def assert_pixels_follow_the_maps(source, result):
    """Every pixel with a source is the pixel that the index maps name."""
    inside = (result["rows"] >= 0)[:, None] & (result["columns"] >= 0)
    expected = source[np.maximum(result["rows"], 0)][:, np.maximum(result["columns"], 0)]
    np.testing.assert_array_equal(result["image"][inside], expected[inside])


@pytest.mark.parametrize(
    "transform",
    [
        distortions.Expand((9, 8, 7)),
        distortions.OverlapCrop(),
        windows.RandomCrop((30, 20)),
        windows.RandomCrop((10, 30), "absolute_range"),
        windows.RandomCrop((0.5, 0.7), "relative_range"),
        windows.CropFirst([(60, 40)], (30, 40), 0.5),
        windows.CenterCrop((40, 40), (0.6, 1.0, 1.3), border=16, mean=(9, 8, 7)),
        windows.Shift(0.7, 12),
        transforms.RandomFlip(),
    ],
    ids=lambda t: f"{type(t).__name__} {getattr(t, 'type', '')}",
)
def test_geometry_stays_together(transform):
    source = sample_of()["image"].numpy()
    shapes = set()
    for result in runs(transform):
        assert_pixels_follow_the_maps(source, result)
        assert len(result["boxes"]) == len(result["labels"]) == len(result["objects"])
        shapes.add((*result["image"].shape, *result["boxes"].ravel().tolist()))
        for box, position in zip(result["boxes"], result["objects"], strict=True):
            marked = np.zeros((40, 60), bool)
            x1, y1, x2, y2 = sample_of()["boxes"][int(position)].numpy().astype(int)
            marked[y1:y2, x1:x2] = True
            moved = marked[np.maximum(result["rows"], 0)][:, np.maximum(result["columns"], 0)]
            moved &= (result["rows"] >= 0)[:, None] & (result["columns"] >= 0)
            ys, xs = np.nonzero(moved)
            np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert len(shapes) > 1  # it is random


def test_expand_fills_with_its_color():
    results = list(runs(distortions.Expand((9, 8, 7), (2, 3))))
    grown = [r for r in results if r["image"].shape != (40, 60, 3)]
    assert 0 < len(grown) < len(results)
    for result in grown:
        h, w = result["image"].shape[:2]
        assert 80 <= h < 120 and 120 <= w < 180
        outside = (result["rows"] < 0)[:, None] | (result["columns"] < 0)
        assert (result["image"][outside] == [9, 8, 7]).all()


def test_overlap_crop_keeps_its_promise():
    transform = distortions.OverlapCrop(min_ious=(0.05,), min_size=0.3)
    for result in runs(transform, count=40):
        h, w = result["image"].shape[:2]
        assert h >= 11 and w >= 17 and len(result["boxes"]) >= 1 or len(result["ignore_boxes"])
        centers = (result["boxes"][:, :2] + result["boxes"][:, 2:]) / 2
        assert (centers > -20).all() and (result["boxes"] >= 0).all()
        assert (result["boxes"][:, [0, 2]] <= w).all() and (result["boxes"][:, [1, 3]] <= h).all()


def test_overlap_crop_goes_on_until_a_round_ends():
    """Of 21 choices 19 ask for an overlap that no window has with two objects far apart: half of the images
    stay whole, because "leave it" came before "none at all"."""
    sample = dict(sample_of(), boxes=tf.constant([[1.0, 1, 9, 9], [50, 30, 59, 39]]))
    crop = distortions.OverlapCrop(min_ious=[0.9] * 19)
    cut = tf.data.Dataset.range(800, output_type=tf.int32).map(lambda i: crop(sample, tf.stack([3, i])))
    whole = [result["image"].shape == (40, 60, 3) for result in cut.as_numpy_iterator()]
    assert 0.44 < np.mean(whole) < 0.56  # 0.5, three standard deviations of 0.018


# What OpenCV's COLOR_RGB2HSV and COLOR_HSV2RGB make of float32 pixels, and of the same with the saturation
# times 1.3 and the hue plus 11 degrees. Below 0 are pixels that the brightness has darkened.
PIXELS = [[-3, -1, -2], [-5, 0, 0], [0, 0, 0], [2, 1, 0], [1, -0.5, 0.25], [-20, 4, -7], [200, 10, 90]]
HSV = [
    [150, 2, -1],
    [180, 41943040, 0],
    [0, 0, 0],
    [30, 1, 2],
    [330, 1.5, 1],
    [152.5, 6, 4],
    [334.7368, 0.95, 200],
]
BACK = [[1, -1, 0], [0, 0, 0], [0, 0, 0], [2, 1, 0], [1, -0.5, 0.25], [-20, 4, -7], [200, 10, 90]]
CHANGED = [
    [1.6, -1, -0.1767], [0, 0, 0], [0, 0, 0], [2, 1.1767, -0.6], [1, -0.95, -0.3325], [-27.2, 4, -4.58],
    [200, -47, 11.7166],
]  # fmt: skip


def test_hue_saturation_and_value_are_those_of_opencv():
    hue, saturation, value = distortions.to_hsv(tf.constant(PIXELS, tf.float32))
    np.testing.assert_allclose(np.stack([hue, saturation, value], -1), HSV, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(distortions.from_hsv(hue, saturation, value), BACK, atol=1e-4)
    np.testing.assert_allclose(distortions.from_hsv(hue + 11, saturation * 1.3, value), CHANGED, atol=1e-3)


def test_photometric_changes_color_only():
    results = list(runs(distortions.Photometric()))
    source = sample_of()["image"].numpy().astype(np.float32)
    changes = [np.abs(r["image"] - source).max() for r in results]
    assert all(r["image"].dtype == np.float32 and r["image"].shape == source.shape for r in results)
    assert max(changes) > 20


def test_a_training_section_with_everything(coco):
    size = {"mode": "fixed", "sizes": [[48, 40]]}
    everything = steps(
        Photometric={}, Expand={}, OverlapCrop={"min_ious": [0.1, 0.5]}, Resize=size, RandomFlip={}
    )
    coco.update(transforms=everything, filter_empty=True)
    data = kdet.data.load(coco, training=True, batch_size=2).dataset()
    assert data.element_spec[0]["images"].shape == (2, 40, 48, 3)
    for inputs, targets in data.take(6):
        assert inputs["images"].dtype == tf.float32
        assert targets["masks"].shape == (2, 3, 40, 6)
        real = targets["labels"].numpy() >= 0
        boxes = targets["boxes"].numpy()
        assert (boxes[real] <= [48, 40, 48, 40]).all() and not boxes[~real].any()
        drawn = masks.unpack(targets["masks"].numpy(), 48).any((2, 3))
        assert not drawn[~real].any()


@pytest.mark.parametrize("seed", range(8))
def test_photometric_by_another_hand(seed):
    """The same draws, through Python's own color conversion."""
    key = tf.constant([seed, 5])
    coins = (tf.random.stateless_uniform([6], tf.random.fold_in(key, 0)) < 0.5).numpy()
    draws = tf.random.stateless_uniform([4], tf.random.fold_in(key, 1)).numpy().astype(float)
    shuffled = tf.random.experimental.stateless_shuffle(tf.range(3), tf.random.fold_in(key, 2)).numpy()
    colors = np.uint8([[200, 100, 50], [10, 250, 90], [60, 60, 61]])
    sample = distortions.Photometric()({"image": tf.constant(colors[None])}, key)
    brightness = 64 * draws[0] - 32 if coins[0] else 0
    contrast, saturation = (0.5 + draws[i] if coins[c] else 1 for i, c in ((1, 1), (2, 3)))
    turn = (36 * draws[3] - 18) / 360 if coins[4] else 0
    for got, color in zip(sample["image"].numpy()[0], colors, strict=True):
        first, second = (contrast, 1) if coins[2] else (1, contrast)
        hue, share, value = colorsys.rgb_to_hsv(*((color + brightness) * first))
        wanted = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, share * saturation, value)) * second
        order = shuffled if coins[5] else range(3)
        # float32 against float64, and OpenCV's epsilon in two divisions; a level of the image is 1
        np.testing.assert_allclose(got, wanted[list(order)], rtol=1e-3, atol=0.05)
