"""Transforms of several images, on drawn images whose pixels, boxes and masks are known by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

import kdet.data
from kdet.data import masks
from kdet.data.copy_paste import CopyPaste
from kdet.data.cutmix import CutMix
from kdet.data.mixing import Piece
from kdet.data.mixup import MixUp
from kdet.data.mosaic import Mosaic
from tests.data.steps import steps


def piece(size, color, boxes, labels=None, ignored=()):
    """An image of one color with filled rectangles, each of its own mask."""
    shapes = []
    for x1, y1, x2, y2 in boxes:
        pixels = np.zeros(size, np.uint8)
        pixels[y1:y2, x1:x2] = 1
        shapes.append(masks.encode_pixels(pixels))
    return Piece(
        np.full((*size, 3), color, np.uint8),
        np.float32(boxes).reshape(-1, 4),
        np.int32(range(len(boxes)) if labels is None else labels),
        np.float32(ignored).reshape(-1, 4),
        shapes,
    )


def assert_masks_fill_boxes(found):
    for rle, (x1, y1, x2, y2) in zip(found.masks, found.boxes.astype(int), strict=True):
        wanted = np.zeros(found.size, np.uint8)
        wanted[y1:y2, x1:x2] = 1
        np.testing.assert_array_equal(coco_mask.decode(rle), wanted)


def test_mosaic_places_four_images_around_its_center():
    # 20x10 (h, w) at a size of 8 wide, 8 high: scaled by 0.4 to 8x4; 4x4 by 2 to 8x8
    pieces = [
        piece((20, 10), 10, [(0, 0, 5, 10)]),
        piece((4, 4), 20, [(1, 1, 3, 3)], [7]),
        piece((8, 8), 30, [(0, 0, 2, 2), (4, 4, 8, 8)], [3, 4], [(0, 4, 2, 8)]),
        piece((8, 8), 40, [(6, 6, 8, 8)]),
    ]
    found = Mosaic(size=(8, 8), fill=114).around((6, 10), pieces)
    assert found.image.shape == (16, 16, 3)
    colors = found.image[..., 0]
    assert (colors[2:10, 2:6] == 10).all() and (colors[2:10, 6:14] == 20).all()
    assert (colors[10:16, 0:6] == 30).all() and (colors[10:16, 6:14] == 40).all()
    assert (colors[:2] == 114).all() and (colors[:, 14:] == 114).all() and (colors[2:10, :2] == 114).all()
    # upper left: x * 0.4 + 2, y * 0.4 + 2; upper right: 2 * x + 6, 2 * y + 2; lower left: x - 2, y + 10;
    # its first object is cut off but for nothing, and the lower right one lies below the canvas in part
    np.testing.assert_allclose(found.boxes, [[2, 2, 4, 6], [8, 4, 12, 8], [2, 14, 6, 16]])
    np.testing.assert_array_equal(found.labels, [0, 7, 4])
    np.testing.assert_array_equal(found.ignore_boxes, np.zeros((0, 4)))
    assert_masks_fill_boxes(found)


def test_mixup_lays_images_over_each_other():
    own, other = piece((6, 8), 100, [(1, 1, 3, 3)], [5]), piece((6, 8), 31, [(2, 0, 8, 6)], [9])
    found = MixUp().over(own, other)
    assert found.image.dtype == np.uint8 and (found.image == 65).all()  # 65.5, cut off
    np.testing.assert_array_equal(found.boxes, [[1, 1, 3, 3], [2, 0, 8, 6]])
    np.testing.assert_array_equal(found.labels, [5, 9])
    assert_masks_fill_boxes(found)


@pytest.mark.parametrize("seed", range(6))
def test_mixup_scales_pads_mirrors_and_cuts_the_other_image(seed):
    """Boxes follow the pixels: the other image has one white object on black."""
    other = piece((10, 20), 0, [(4, 2, 10, 8)])
    other.image[2:8, 4:10] = 200
    own = piece((8, 8), 0, [])
    mixup = MixUp(size=(20, 20), ratio_range=(0.5, 1.0), fill=0, share=0.0)
    found = mixup.mix([own, other], np.random.default_rng(seed))
    assert found.size == (8, 8)
    bright = found.image[..., 0] > 100
    assert bright.any() == bool(len(found.labels)) or found.image.any()
    for box in found.boxes:
        y, x = np.nonzero(bright)
        if len(y):
            np.testing.assert_allclose(box, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1)


def test_copy_paste_hides_what_lies_below():
    own = piece((10, 12), 50, [(0, 0, 4, 4), (5, 5, 9, 9), (8, 0, 12, 4)], [1, 2, 3], [(0, 8, 2, 10)])
    # covers the second object but for two columns, and the third as a whole; the last lies outside
    other = piece((14, 16), 200, [(5, 4, 7, 10), (7, 0, 12, 5), (13, 0, 16, 4)], [7, 8, 9], [(0, 0, 1, 1)])
    found = CopyPaste().paste(own, other)
    np.testing.assert_array_equal(found.labels, [1, 2, 7, 8])
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 4], [7, 5, 9, 9], [5, 4, 7, 10], [7, 0, 12, 5]])
    np.testing.assert_array_equal(found.ignore_boxes, [[0, 8, 2, 10]])
    assert_masks_fill_boxes(found)
    pasted = np.zeros((10, 12), bool)
    pasted[4:10, 5:7], pasted[0:5, 7:12] = True, True
    np.testing.assert_array_equal(found.image[..., 0], np.where(pasted, 200, 50))
    fewer = CopyPaste(min_pixels=8).paste(own, other)  # eight pixels of the second object are left
    np.testing.assert_array_equal(fewer.labels, [1, 7, 8])


def test_copy_paste_takes_a_random_part():
    own, other = piece((9, 9), 1, [(0, 0, 9, 9)]), piece((9, 9), 2, [(i, i, i + 2, i + 2) for i in range(6)])
    counts = {
        len(CopyPaste(max_objects=4).mix([own, other], np.random.default_rng(i)).labels) for i in range(40)
    }
    assert counts == {1, 2, 3, 4, 5}


def test_cutmix_replaces_a_rectangle():
    own = piece((10, 10), 50, [(0, 0, 10, 4), (5, 5, 8, 8), (0, 6, 3, 9)], [1, 2, 3], [(4, 0, 6, 4)])
    other = piece((10, 10), 200, [(3, 3, 7, 7), (0, 0, 10, 10), (0, 0, 4, 1)], [7, 8, 9])
    found = CutMix(min_visible=0.2).cut((4, 0, 10, 9), own, other)
    # the first loses its right side, the second all; of the others: 3 of 4 columns, 54 of 100 pixels, nothing
    np.testing.assert_array_equal(found.labels, [1, 3, 7, 8])
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 4], [0, 6, 3, 9], [4, 3, 7, 7], [4, 0, 10, 9]])
    assert not len(found.ignore_boxes)
    assert_masks_fill_boxes(found)
    assert (
        (found.image[:9, 4:] == 200).all()
        and (found.image[9] == 50).all()
        and (found.image[:, :4] == 50).all()
    )
    inner = CutMix().cut((2, 1, 5, 3), own, other)
    np.testing.assert_array_equal(inner.boxes[0], [0, 0, 10, 4])  # a hole does not change the box
    assert coco_mask.area(inner.masks[0]) == 40 - 6


@pytest.fixture
def colored(tmp_path):
    """Six images of one color, image i of (i + 1) * 20, each with an object in the middle of class i."""
    content = {"images": [], "annotations": [], "categories": []}
    for i in range(6):
        image = np.full((32, 40, 3), (i + 1) * 20, np.uint8)
        image[8:24, 10:30] += 10
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        content["categories"].append({"id": i, "name": f"c{i}"})
        content["images"].append({"id": i, "file_name": f"{i}.png", "height": 32, "width": 40})
        polygon = [10, 8, 30, 8, 30, 24, 10, 24]
        entry = {"id": i + 1, "image_id": i, "category_id": i, "bbox": [10, 8, 20, 16], "area": 320}
        content["annotations"].append({**entry, "iscrowd": 0, "segmentation": [polygon]})
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return {"annotations": str(tmp_path / "coco.json"), "images": str(tmp_path), "masks": True}


def batches(spec, count, skip=0, until=None, batch_size=2):
    pipeline = kdet.data.load(spec, training=True, batch_size=batch_size, seed=3)
    pipeline.mixing_until = until
    return [
        {key: value.numpy() for key, value in {**inputs, **targets}.items()}
        for inputs, targets in pipeline.dataset(skip=skip).take(count)
    ]


ALL = steps(
    Mosaic={"size": [40, 32]},
    MixUp={"size": [40, 32], "probability": 0.5},
    Resize={"mode": "fixed", "sizes": [[80, 64]]},
    RandomFlip={},
    CopyPaste={"probability": 0.5},
    CutMix={"probability": 0.5},
)


def test_objects_have_the_color_of_their_class(colored):
    """Pixels, boxes and masks stay together through Mosaic, a fixed size, mirroring, CopyPaste and CutMix."""
    chain = [one for one in ALL if one["type"] != "MixUp"]
    several = set()
    for batch in batches({**colored, "transforms": chain}, 4):
        for image, boxes, labels, packed in zip(
            batch["images"], batch["boxes"], batch["labels"], batch["masks"], strict=True
        ):
            several.add(int((labels >= 0).sum()))
            for box, label, mask in zip(boxes, labels, masks.unpack(packed, 80), strict=True):
                assert (label >= 0) == bool(mask.any())
                if label < 0:
                    continue
                inner = image[..., 0][mask.astype(bool)]
                # pixels of the border are interpolated
                assert np.median(inner) == pytest.approx((label + 1) * 20 + 10, abs=1)
                y, x = np.nonzero(mask)
                around = [x.min(), y.min(), x.max() + 1, y.max() + 1]
                np.testing.assert_allclose(box, around, atol=2.5)
    assert max(several) >= 4


def test_a_run_with_other_images_repeats_itself_and_resumes(colored):
    spec = {**colored, "transforms": ALL}
    first, again = batches(spec, 4), batches(spec, 2, skip=2)
    for one, two in zip(first[2:], again, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
    assert not np.array_equal(first[0]["images"], first[1]["images"])


def test_mixing_ends_at_a_step_also_after_a_resume(colored):
    spec = {**colored, "transforms": ALL}
    plain = [one for one in ALL if one["type"] in ("Resize", "RandomFlip")]
    mixed, ended, resumed = batches(spec, 4), batches(spec, 4, until=2), batches(spec, 1, skip=3, until=2)
    for step in (0, 1):
        np.testing.assert_array_equal(mixed[step]["images"], ended[step]["images"])
    for step in (2, 3):
        assert (ended[step]["labels"] >= 0).sum(1).tolist() == [1, 1]
    np.testing.assert_array_equal(ended[3]["images"], resumed[0]["images"])
    assert batches({**colored, "transforms": plain}, 1)[0]["boxes"].shape == (2, 1, 4)
    assert mixed[0]["boxes"].shape == (2, 7, 4)  # 4 of Mosaic and one of each other


def test_yolox_augments_until_its_plain_epochs(colored):
    """Objects keep the color of their class through its chain; afterwards images are alone and whole."""
    resize = {"sizes": [[48, 48], [64, 64]], "multiscale": "step", "every": 1}
    chain = steps(
        Mosaic={"size": [40, 32]},
        RandomAffine={"size": [40, 32], "rotation": 0, "shear": 0, "scale": [0.6, 1.0]},
        HSVJitter={"hue": 5, "saturation": 0, "value": 0},  # grays have no hue
        RandomFlip={},
        Resize=resize,
    )
    mixed, plain, *_ = found = batches({**colored, "transforms": chain}, 3, until=1, batch_size=4)
    for batch in found:
        for image, labels, packed in zip(batch["images"], batch["labels"], batch["masks"], strict=True):
            for label, mask in zip(labels, masks.unpack(packed, image.shape[1]), strict=True):
                if label >= 0 and mask.sum() > 20:
                    inner = image[..., 0][mask.astype(bool)]
                    assert np.median(inner) == pytest.approx((label + 1) * 20 + 10, abs=1)
    assert (plain["labels"] >= 0).sum(1).tolist() == [1, 1, 1, 1]
    assert len(np.unique(mixed["labels"])) > 2
    assert {batch["images"].shape[1:3] for batch in found} <= {(48, 48), (64, 64)}


RTMDET = steps(
    Resize={"sizes": [[40, 40]]},
    Mosaic={"size": [40, 40], "recent": 4},
    RandomScale={"ratio_range": [0.3, 1.2]},
    RandomCrop={"size": [40, 40]},
    RandomFlip={},
    Pad={"size": [40, 40]},
    MixUp={"size": [40, 40], "ratio_range": [1.0, 1.0], "share": 1.0, "recent": 3},
)


def test_rtmdet_cuts_mosaics_and_mixes_what_was_cut_before(colored):
    mixed, plain, *_ = found = batches({**colored, "transforms": RTMDET}, 3, until=1, batch_size=4)
    assert {batch["images"].shape[1:3] for batch in found} == {(40, 40)}
    assert mixed["boxes"].shape[1] == 8  # two mosaics
    assert len(np.unique(mixed["labels"])) > 2 and (plain["labels"] >= 0).sum(1).tolist() == [1, 1, 1, 1]
    for image, labels, packed in zip(mixed["images"], mixed["labels"], mixed["masks"], strict=True):
        drawn = masks.unpack(packed, 40)[labels >= 0].astype(bool)
        assert drawn.any((1, 2)).all() and (image[drawn.any(0)] != 114).any()


def test_others_in_a_window_are_what_was_there_before(colored):
    """With no randomness left, the image that is mixed in is the one of the place before."""
    chain = steps(
        Resize={"sizes": [[20, 20]]}, MixUp={"size": [20, 20], "share": 0.0, "recent": 1, "flip": 0.0}
    )
    chain[1].update(ratio_range=[1.0, 1.0])
    spec = {**colored, "transforms": chain, "shuffle": False}
    alone = batches({**spec, "transforms": chain[:1]}, 3)
    found = batches(spec, 3)
    before = np.concatenate([batch["labels"][:, 0] for batch in alone])
    got = [sorted(row[row >= 0].tolist()) for batch in found for row in batch["labels"]]
    for place in range(1, len(got)):
        assert got[place] == sorted([before[place], before[place - 1]])
    resumed = batches(spec, 1, skip=2)[0]
    np.testing.assert_array_equal(resumed["images"], found[2]["images"])


def test_one_size_for_every_step(colored):
    sizes = [[32, 32], [64, 64], [96, 96]]
    resize = {"sizes": sizes, "multiscale": "step", "every": 2}
    spec = {**colored, "transforms": steps(Resize=resize, RandomFlip={})}
    pipeline = kdet.data.load(spec, training=True, batch_size=2, seed=1)
    traces = []

    @tf.function
    def step(images):
        traces.append(1)
        return tf.shape(images)

    shapes = [tuple(step(inputs["images"]).numpy()[1:3]) for inputs, _ in pipeline.dataset().take(12)]
    assert shapes[::2] == shapes[1::2] and len(set(shapes)) > 1
    assert set(shapes) <= {tuple(size) for size in sizes} and len(traces) <= len(sizes)
    resumed = [inputs["images"].shape[1:3] for inputs, _ in pipeline.dataset(skip=5).take(3)]
    assert [tuple(shape) for shape in resumed] == shapes[5:8]
    for inputs, targets in pipeline.dataset().take(3):
        drawn = masks.unpack(targets["masks"].numpy(), inputs["images"].shape[2])[:, 0]
        y, x = np.nonzero(drawn[0])
        np.testing.assert_allclose(
            targets["boxes"][0, 0], [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.5
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": False, "transforms": steps(CopyPaste={})}, "CopyPaste .* set data.masks: true"),
        ({"semantic": "maps", "transforms": steps(CutMix={})}, "CutMix moves objects, and data.semantic"),
        ({"transforms": steps(Mosaic={})}, "transform Mosaic gives images sizes .* data.buckets"),
        ({"transforms": steps(MixUp={"ratio_range": [2, 1]})}, "expected numbers in rising order"),
    ],
)
def test_what_cannot_be_mixed_is_explained(colored, changes, words):
    with pytest.raises(ValueError, match=words):
        kdet.data.load({**colored, **changes}, training=True)
