"""Moved objects: pixels, masks and boxes stay together, and the rules for what is in the way."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

import kdet.data
from kdet.config import Config, ConfigError
from kdet.data import instaboost, masks
from tests.data.steps import steps

pytest.importorskip("cv2", reason="InstaBoost fills holes with OpenCV, an optional dependency")

SIZE = (64, 96)
OWN = {"mode": "factor", "sizes": [1.0]}
STILL = {"scale": (1, 1), "theta": (0, 0), "dx": 1000, "dy": 1000, "color_probability": 0}
RED, BLUE = (250, 5, 5), (5, 5, 250)


def rectangle(x1, y1, x2, y2):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return mask


def rles_of(*rectangles):
    return [coco_mask.encode(rectangle(*corners)) for corners in rectangles]


def green(*painted):
    """An image of greens with rectangles of other colors."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 1] = 100 + np.arange(SIZE[1])
    for corners, color in painted:
        image[rectangle(*corners) > 0] = color
    return image


def noise():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def sample_of(image, *rectangles):
    return {
        "image": tf.constant(image),
        "boxes": tf.constant(rectangles, tf.float32, [len(rectangles), 4]),
        "labels": tf.range(len(rectangles)) + 5,
        "objects": tf.range(len(rectangles)),
        "ignore_boxes": tf.constant([[70.0, 40, 90, 60]]),
        "shapes": tf.constant([r["counts"] for r in rles_of(*rectangles)], tf.string, [len(rectangles)]),
    }


def run(transform, sample, seed=0):
    found = transform(sample, tf.constant([7, seed]))
    return {key: value.numpy() for key, value in found.items()}


def assert_same(found, sample):
    for key, value in sample.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_probability_0_changes_nothing():
    sample = sample_of(noise(), (20, 20, 40, 30), (12, 15, 50, 50))
    for seed in range(5):
        assert_same(run(instaboost.InstaBoost(probability=0), sample, seed), sample)


@pytest.mark.parametrize("options", [STILL, {"actions": {"skip": 1}, "color_probability": 0}])
def test_what_does_not_move_gives_the_image_back(options):
    sample = sample_of(noise(), (20, 20, 40, 30), (12, 15, 50, 50), (60, 2, 80, 30))
    assert_same(run(instaboost.InstaBoost(probability=1, **options), sample), sample)


def test_a_shift_moves_pixels_mask_and_box_by_just_that():
    image, (rle,) = noise(), rles_of((20, 20, 40, 30))
    matrix = instaboost.similarity(np.array([20, 20, 40, 30]), shift=(7, -4))
    found, (moved,) = instaboost.moved(image, [rle], [[0]], [matrix])
    np.testing.assert_array_equal(coco_mask.decode(moved), rectangle(27, 16, 47, 26))
    np.testing.assert_array_equal(instaboost.boxes_of([moved]), [[27, 16, 47, 26]])
    np.testing.assert_array_equal(found[16:26, 27:47], image[20:30, 20:40])
    touched = (rectangle(27, 16, 47, 26) | rectangle(20, 20, 40, 30)) > 0
    np.testing.assert_array_equal(found[~touched], image[~touched])


def test_the_hole_is_filled_from_around():
    corners = (20, 20, 40, 30)
    image = green((corners, RED))
    matrix = instaboost.similarity(np.array(corners), shift=(40, 15))
    found, _ = instaboost.moved(image, rles_of(corners), [[0]], [matrix])
    assert (found[35:45, 60:80] == RED).all()
    hole = found[20:30, 20:40].astype(int)
    assert hole[..., 0].max() == 0 and hole[..., 2].max() == 0
    assert np.abs(hole - green()[20:30, 20:40]).max() < 20


def test_size_turn_and_mirror_are_about_the_middle():
    image, corners = noise(), (20, 20, 40, 30)
    box, rles = np.array(corners), rles_of(corners)

    def found(**options):
        new, (rle,) = instaboost.moved(image, rles, [[0]], [instaboost.similarity(box, **options)])
        return new, instaboost.boxes_of([rle])[0]

    np.testing.assert_allclose(found(scale=1.2)[1], [18, 19, 42, 31], atol=1)
    np.testing.assert_allclose(found(scale=0.8)[1], [22, 21, 38, 29], atol=1)
    np.testing.assert_allclose(found(degrees=90)[1], [25, 15, 35, 35], atol=1)
    for axis, mirror in ((1, (-1, 1)), (0, (1, -1))):
        new, moved = found(mirror=mirror)
        np.testing.assert_array_equal(moved, corners)
        np.testing.assert_array_equal(new[20:30, 20:40], np.flip(image[20:30, 20:40], axis))


def test_overlapping_objects_move_together():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [18, 0, 30, 10], [9, 9, 19, 12], [60, 50, 70, 60]])
    groups = [group.tolist() for group in instaboost.overlapping(boxes)]
    assert groups == [[0, 2, 3], [1], [4]]  # 0 and 2 over 3; 1 and 4 only touch
    sample = sample_of(noise(), (20, 15, 50, 45), (30, 25, 40, 35))
    for seed in range(6):
        boost = instaboost.InstaBoost(1, scale=(1, 1), theta=(0, 0), dx=5, dy=5)
        outer, inner = run(boost, sample, seed)["boxes"]
        np.testing.assert_array_equal(inner - outer, [10, 10, -10, -10])


def test_what_is_pasted_later_hides_what_is_below():
    corners = (10, 10, 30, 30), (50, 10, 70, 30), (80, 50, 84, 54)
    image = green((corners[0], RED), (corners[1], BLUE))
    to_the_first = instaboost.similarity(np.array(corners[1]), shift=(-30, 5))
    over_the_third = instaboost.similarity(np.array(corners[1]), shift=(20, 28))
    still = np.eye(2, 3)
    found, rles = instaboost.moved(image, rles_of(*corners), [[0], [1], [2]], [still, to_the_first, still])
    assert (found[15:35, 20:40] == BLUE).all() and (found[10:15, 10:30] == RED).all()
    np.testing.assert_array_equal(
        coco_mask.decode(rles[0]), rectangle(10, 10, 30, 30) & (1 - rectangle(20, 15, 40, 35))
    )
    np.testing.assert_array_equal(coco_mask.decode(rles[1]), rectangle(20, 15, 40, 35))
    _, rles = instaboost.moved(image, rles_of(*corners), [[0], [2], [1]], [still, still, over_the_third])
    np.testing.assert_array_equal(instaboost.boxes_of(rles)[2], 0)


def test_what_leaves_the_image_is_cut_or_dropped(monkeypatch):
    corners = (20, 20, 40, 30), (60, 20, 80, 30)
    for x, expected in ((-30, [0, 20, 10, 30]), (-45, None)):
        matrices = iter([instaboost.similarity(np.array(corners[0]), shift=(x, 0)), np.eye(2, 3)])
        boost = instaboost.InstaBoost(1, color_probability=0)
        monkeypatch.setattr(boost, "matrix", lambda *_, matrices=matrices: next(matrices))
        found = run(boost, sample_of(noise(), *corners))
        assert len(found["shapes"]) == 2
        kept = [1] if expected is None else [0, 1]
        np.testing.assert_array_equal(found["objects"], kept)
        np.testing.assert_array_equal(found["labels"], [5 + i for i in kept])
        np.testing.assert_array_equal(found["boxes"], [*([expected] if expected else []), corners[1]])


def test_boxes_are_those_of_the_masks_and_moves_are_small():
    corners = (20, 18, 44, 42), (60, 14, 80, 30)
    sample, differ = sample_of(noise(), *corners), set()
    for seed in range(20):
        found = run(instaboost.InstaBoost(1, theta=(-10, 10), dx=5, dy=5), sample, seed)
        rles = masks.of_counts(found["shapes"], *SIZE)
        np.testing.assert_array_equal(found["boxes"], instaboost.boxes_of(rles))
        assert found["image"].shape == (*SIZE, 3) and found["image"].dtype == np.uint8
        assert np.abs(found["boxes"] - corners).max() < 15
        differ.add(str(found["boxes"]))
    assert len(differ) > 15


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("low", [True, False])
def test_cut_objects_grow_and_move_outwards_only(axis, low):
    boost = instaboost.InstaBoost(actions={"normal": 1, "horizontal": 1, "vertical": 1}, dx=3, dy=3)
    box = np.array([20, 20, 50, 50])
    box[[axis, axis + 2]] = (5, 35) if low else (SIZE[1 - axis] - 35, SIZE[1 - axis] - 5)
    middle, shifts = (box[:2] + box[2:] - 1) / 2, []
    for seed in range(30):
        matrix = boost.matrix(box, SIZE, np.random.default_rng(seed))
        scale = matrix[0, 0]
        np.testing.assert_array_equal(matrix[:, :2], scale * np.eye(2))  # neither turned nor mirrored
        assert 1 <= scale <= 1.2
        shifts.append(matrix @ [*middle, 1] - middle)
    across, along = np.array(shifts)[:, axis], np.array(shifts)[:, 1 - axis]
    across = -across if low else across
    assert across.min() > -1e-9 and across.max() > 5
    assert along.min() < -5 and along.max() > 5


def test_actions_are_drawn_by_their_weights():
    boost = instaboost.InstaBoost(actions={"horizontal": 1, "skip": 3}, scale=(1.1, 1.2), theta=(0, 0))
    box = np.array([20, 20, 50, 50])
    matrices = [boost.matrix(box, SIZE, np.random.default_rng(seed)) for seed in range(200)]
    assert 100 < sum((m == np.eye(2, 3)).all() for m in matrices) < 190
    assert all(m[0, 0] == 1 or m[0, 0] < -1 for m in matrices)
    cut = np.array([0, 20, 50, 50])  # is not mirrored: stays
    assert all((boost.matrix(cut, SIZE, np.random.default_rng(i)) == np.eye(2, 3)).all() for i in range(20))


def test_ignore_regions_stay():
    sample = sample_of(noise(), (12, 12, 40, 30))
    found = run(instaboost.InstaBoost(1, color_probability=0), sample)
    assert (found["image"] != sample["image"].numpy()).any()
    np.testing.assert_array_equal(found["ignore_boxes"], sample["ignore_boxes"])
    np.testing.assert_array_equal(found["image"][40:60, 70:90], sample["image"][40:60, 70:90])


def test_the_seed_decides():
    sample = sample_of(noise(), (20, 20, 44, 42))
    first, second, again = (run(instaboost.InstaBoost(1), sample, seed) for seed in (1, 2, 1))
    assert_same(again, first)
    assert (first["image"] != second["image"]).any()


@pytest.mark.parametrize("rectangles", [(), [(20, 20, 44, 42)]])
def test_colors_change_nothing_else(rectangles):
    sample = sample_of(green(((20, 20, 44, 42), RED)), *rectangles)
    found = run(instaboost.InstaBoost(1, **{**STILL, "color_probability": 1}), sample)
    assert np.abs(found["image"].astype(int) - sample["image"]).max() > 10
    assert_same(found | {"image": sample["image"]}, sample)


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(instaboost, "cv2", None)
    with pytest.raises(ImportError, match=r"InstaBoost .* pip install opencv-python-headless"):
        instaboost.InstaBoost()


@pytest.fixture
def moving(tmp_path):
    """A data section of one image with three objects and a crowd, with what the recipe says."""
    corners = (20, 20, 44, 42), (50, 12, 70, 30), (54, 20, 62, 34), (75, 45, 95, 63)
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(i == 4),
        }
        for i, (x1, y1, x2, y2) in enumerate(corners, 1)
    ]
    image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    Image.fromarray(noise()).save(tmp_path / "a.png")
    recipe = Config.load("mask_rcnn_r50_fpn_instaboost_4x")["data"]["train"]
    boost, *_ = recipe["transforms"]
    assert recipe["masks"] and boost["type"] == "InstaBoost" and boost["probability"] == 0.5
    return {
        "annotations": str(tmp_path / "coco.json"),
        "images": str(tmp_path),
        "masks": True,
        "transforms": [{**boost, "probability": 1.0}, *steps(Resize=OWN, RandomFlip={})],
    }


def boosted(**options):
    return {"transforms": steps(InstaBoost=options, Resize=OWN)}


def elements(section, count=4, **options):
    pipeline = kdet.data.load(section, training=True, seed=3)
    return [{k: v.numpy()[0] for k, v in (x | y).items()} for x, y in pipeline.dataset(**options).take(count)]


def test_the_recipe_makes_a_pipeline(moving):
    found = elements(moving)
    assert len({str(one["boxes"]) for one in found}) == 4
    for one in found:
        drawn = masks.unpack(one["masks"], 96)[:, : SIZE[0]]
        boxes = instaboost.boxes_of(coco_mask.encode(np.asfortranarray(drawn.transpose(1, 2, 0))))
        np.testing.assert_array_equal(one["boxes"], boxes)
        np.testing.assert_array_equal(one["labels"], [0, 0, 0])
        assert one["ignore_boxes"][0].tolist() in ([75, 45, 95, 63], [1, 45, 21, 63])
    for again, one in zip(elements(moving, 2, skip=2), found[2:], strict=True):
        assert_same(again, one)


def test_it_is_for_training_only(moving):
    ((inputs, targets),) = kdet.data.load(moving).dataset()
    np.testing.assert_array_equal(inputs["images"][0], noise())
    np.testing.assert_array_equal(targets["boxes"][0, 0], [20, 20, 44, 42])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (boosted(them=[0, 0]), r"0\.them: unknown keyword of InstaBoost\. Did you mean 'theta'"),
        (boosted(actions={"flip": 1}), r"transforms\.0 \(InstaBoost\): actions has no 'flip'"),
        (boosted(actions={"skip": 0}), "actions must be weights"),
        (boosted(scale=[1.2, 0.8]), r"0\.scale \(InstaBoost\): expected numbers in rising order"),
        (boosted(scale=[0, 1]), r"0\.scale \(InstaBoost\): item 0: expected a number above 0"),
        (boosted(theta=[-0.5, 0.5]), r"0\.theta \(InstaBoost\): item 0: expected a whole number"),
        (boosted(dx=0), r"0\.dx \(InstaBoost\): expected a number above 0"),
        (boosted(color_probability=2), r"0\.color_probability .*from 0 to 1, got 2"),
        ({"masks": False}, r"InstaBoost .* set data\.masks: true"),
        ({"semantic": "maps"}, r"data\.semantic cannot follow"),
        ({"proposals": "boxes.npz"}, r"data\.proposals cannot follow"),
    ],
)
def test_bad_sections_are_explained(moving, changes, words):
    with pytest.raises(ValueError, match=words):
        kdet.data.load({**moving, **changes}, training=True)


def test_the_defaults_are_the_recipes():
    boost, *_ = Config.load("mask_rcnn_r50_fpn_instaboost_4x")["data"]["train"]["transforms"]
    given = instaboost.InstaBoost(**{key: value for key, value in boost.items() if key != "type"})
    for key, value in vars(instaboost.InstaBoost()).items():
        if key != "_init_arguments":
            np.testing.assert_array_equal(value, vars(given)[key])


def test_an_override_finds_it_by_its_type():
    with pytest.raises(ConfigError, match="the list holds InstaBoost, Resize, RandomFlip, no InstaBoos"):
        Config.load("mask_rcnn_r50_fpn_instaboost_4x", overrides=["data.train.transforms.InstaBoos.dx=5"])
