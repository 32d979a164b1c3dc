"""Random windows, checked by hand."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import transforms, windows
from tests.data.steps import steps

WIDE = {"sizes": [[133, 80]]}


def sample_of(height=20, width=30, boxes=((4.0, 6, 14, 16),)):
    count = len(boxes)
    return {
        "image": tf.cast(tf.reshape(tf.range(height * width * 3) % 251, [height, width, 3]), tf.uint8),
        "boxes": tf.reshape(tf.constant(boxes, tf.float32), [count, 4]),
        "labels": tf.range(count),
        "objects": tf.range(count),
        "ignore_boxes": tf.zeros([0, 4]),
        "proposals": tf.zeros([0, 4]),
        "scale": tf.ones([2]),
        "rows": tf.range(height),
        "columns": tf.range(width),
    }


def seeds(count):
    return [tf.constant([3, i]) for i in range(count)]


def test_crop_types_give_the_sizes_that_they_promise():
    def sizes(*options):
        crop = windows.RandomCrop(*options)
        return [tuple(crop(sample_of(), seed)["image"].shape[:2]) for seed in seeds(30)]

    assert set(sizes((12, 25))) == {(20, 12)}  # (w, h), at most the image
    ranged = sizes((8, 10), "absolute_range")
    assert {h for h, _ in ranged} == {w for _, w in ranged} == {8, 9, 10}
    assert set(sizes((40, 50), "absolute_range")) == {(20, 30)}
    assert set(sizes((0.5, 0.25), "relative")) == {(5, 15)}
    shares = sizes((0.5, 0.9), "relative_range")
    assert len(set(shares)) > 5 and all(18 <= h <= 20 and 15 <= w <= 30 for h, w in shares)


def test_a_window_beyond_the_image_is_filled():
    sample = sample_of()
    moved = transforms.moved_window(sample, tf.constant([-2, 25]), [6, 8], [20, 30], (1, 2, 3))
    np.testing.assert_array_equal(moved["rows"], [-1, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(moved["columns"], [25, 26, 27, 28, 29, -1, -1, -1])
    np.testing.assert_array_equal(moved["image"][2:, :5], tf.cast(sample["image"], tf.float32)[:4, 25:])
    assert (moved["image"].numpy()[:2] == [1, 2, 3]).all() and (
        moved["image"].numpy()[:, 5:] == [1, 2, 3]
    ).all()
    assert len(moved["labels"]) == 0  # the object lies elsewhere


def test_shift_moves_drops_and_gives_up():
    boxes = ((4.0, 6, 14, 16), (0, 0, 3, 3))
    shift = windows.Shift(1.0, 5)
    seen = set()
    for seed in seeds(30):
        moved = shift(sample_of(boxes=boxes), seed)
        x, y = (int(v) for v in moved["boxes"].numpy()[0, :2] - [4, 6])
        seen.add((x, y))
        assert abs(x) <= 5 and abs(y) <= 5
        left = [max(3 + shift, 0) - max(shift, 0) for shift in (x, y)]
        assert len(moved["labels"]) == (2 if min(left) > 1 else 1)
    assert len(seen) > 15
    alone = sample_of(boxes=((0.0, 0, 2, 2),))  # a shift that would lose the only object is not made
    for seed in seeds(20):
        moved = windows.Shift(1.0, 5)(alone, seed)
        assert len(moved["labels"]) == 1
        assert not windows.Shift(0.0)(alone, seed)["columns"].numpy()[0]


def test_center_crop_is_around_a_point_and_keeps_an_object():
    crop = windows.CenterCrop((11, 9), (1.0,), border=8, mean=(5, 6, 7))
    # the border is halved until it is below half of the side: 8 in 30 columns, 8 in 20 rows
    np.testing.assert_array_equal(crop._margin(tf.constant([20, 30])), [8, 8])
    np.testing.assert_array_equal(crop._margin(tf.constant([16, 10])), [4, 4])
    for seed in seeds(30):
        cut = crop(sample_of(), seed)
        assert cut["image"].shape == (9, 11, 3) and len(cut["labels"]) == 1
        # both sides are odd: their last row and column are filled
        assert (cut["image"].numpy()[-1] == [5, 6, 7]).all() and (
            cut["image"].numpy()[:, -1] == [5, 6, 7]
        ).all()
        middle = cut["rows"].numpy()[4], cut["columns"].numpy()[5]
        assert 8 <= middle[0] < 12 and 8 <= middle[1] < 22


def test_crop_first_resizes_then_cuts():
    first = windows.CropFirst([(15, 10)], (6, 7), 1.0)
    sizes = {tuple(first(sample_of(), seed)["image"].shape[:2]) for seed in seeds(20)}
    assert sizes == {(6, 6), (6, 7), (7, 6), (7, 7)}
    never = windows.CropFirst([(15, 10)], (6, 7), 0.0)
    assert never(sample_of(), seeds(1)[0])["image"].shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (steps(RandomCrop={"kind": "absolut", "size": [3, 3]}), "0.kind .*unknown value 'absolut'"),
        (steps(RandomCrop={"kind": "relative", "size": [2, 0.5]}), "size must hold shares"),
        (steps(CropFirst={"sizes": [[600]]}), r"0.sizes \(CropFirst\): item 0: expected a list of 2"),
        (steps(CenterCrop={"ratios": [1.0]}), r"data.transforms.0 \(CenterCrop\): missing size"),
        (steps(Shift={"max_pixel": 3}), "0.max_pixel: unknown keyword of Shift. Did you mean 'max_pixels'"),
        (steps(Shift={"probability": 3}), r"0.probability \(Shift\): expected a number from 0 to 1, got 3"),
        (steps(Photometric={"first": True}), "0.first: unknown keyword of Photometric"),
        (steps(Resize={"mode": "factor", "sizes": [[3, 4]]}), "sizes must hold positive factors"),
    ],
)
def test_bad_transforms_are_explained(coco, chain, words):
    with pytest.raises(ValueError, match=words):
        kdet.data.load({**coco, "transforms": chain}, training=True)
    with pytest.raises(ValueError, match="data.min_box: expected a number above 0, got -1"):
        kdet.data.load({**coco, "min_box": -1}, training=True)


@pytest.mark.parametrize(
    ("chain", "canvas"),
    [
        (steps(CropFirst={"sizes": [[60, 40]], "crop": [20, 30]}, Resize=WIDE), (160, 160)),
        (steps(Resize=WIDE, RandomCrop={"kind": "absolute_range", "size": [30, 40]}), (40, 40)),
        (steps(CenterCrop={"size": [32, 32]}, Resize={"mode": "fixed", "sizes": [31, 31]}), (31, 31)),
        (steps(Resize={"mode": "fixed", "sizes": [[40, 48]]}, Shift={}, Photometric={}), (48, 40)),
        (steps(OverlapCrop={}, Resize=WIDE), (160, 160)),  # a window may be upright in a wide image
    ],
)
def test_training_sections_have_static_canvases(coco, chain, canvas):
    pipeline = kdet.data.load({**coco, "transforms": chain}, training=True, batch_size=2)
    assert pipeline.shapes == [canvas]
    for inputs, targets in pipeline.dataset().take(3):
        assert inputs["images"].shape == (2, *canvas, 3)
        size = inputs["valid_size"].numpy()[:, None, ::-1]
        assert (targets["boxes"].numpy() <= np.tile(size, 2)).all()


def test_images_in_their_own_size_get_their_own_canvas(coco):
    coco.update(transforms=steps(Resize={"mode": "factor", "sizes": [1.0]}), center_pad=127)
    pipeline = kdet.data.load(coco)
    assert pipeline.shapes == [(127, 127)]
    coco.update(transforms=steps(Resize={"mode": "factor", "sizes": [0.5]}), center_pad=None, divisor=8)
    sizes = {
        int(inputs["image_id"][0]): tuple(inputs["valid_size"].numpy()[0])
        for inputs, _ in kdet.data.load(coco).dataset()
    }
    # of 60x83, 90x61, 48x64; whole pixels first, then both sides by one factor
    assert sizes == {1: (30, 41), 2: (44, 30), 3: (24, 32)}
