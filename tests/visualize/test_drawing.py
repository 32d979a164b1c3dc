"""Drawings put the right things in the right places."""

import pathlib

import numpy as np
import pytest

import kdet.data
from kdet import visualize


@pytest.fixture
def gray():
    return np.full((80, 100, 3), 128, np.uint8)


def test_boxes_masks_and_text_change_their_places_only(gray):
    masks = np.zeros((2, 80, 100), bool)
    masks[0, 45:50, 45:60] = True
    drawn = visualize.draw(
        gray,
        [[40, 30, 70, 60], [0, 0, 0, 0]],
        [1, -1],
        ["cat", "dog"],
        scores=[0.5, 0],
        masks=masks,
        outline=True,
    )
    changed = (drawn != gray).any(-1)
    assert drawn.shape == gray.shape and (gray == 128).all()
    assert changed[30, 40:70].all() and changed[45:50, 45:60].all()
    assert not changed[:25].any() and not changed[:, :35].any() and not changed[52:57, 45:60].any()
    labelled = visualize.draw(gray, [[40, 30, 70, 60]], [1], ["cat", "dog"])
    assert (labelled != drawn)[:30].any()


def test_classes_keep_their_color(gray):
    alone = visualize.draw(gray, [[10, 10, 30, 30]], [1], outline=True)
    among = visualize.draw(gray, [[10, 10, 30, 30], [60, 40, 90, 70]], [1, 5], outline=True)
    np.testing.assert_array_equal(alone[10, 10:30], among[10, 10:30])
    assert (among[40, 75] != among[10, 20]).any()


def test_detections_below_the_threshold_are_left_out(gray):
    detections = {
        "boxes": np.array([[10, 10, 30, 30], [60, 40, 90, 70], [0, 0, 0, 0]], np.float32),
        "scores": np.array([0.9, 0.2, 0.0]),
        "labels": np.array([0, 1, -1]),
    }
    drawn = visualize.draw_detections(gray, detections, ["a", "b"])
    assert (drawn[10, 10:30] != 128).any() and (drawn[36:, 50:] == 128).all()
    np.testing.assert_array_equal(visualize.draw_detections(gray, detections, threshold=0.95), gray)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1]}, "2 labels but 1 boxes"),
        ({"labels": [2]}, "label 2 but only 2"),
        ({"scores": [0.1, 0.2]}, "1 labels but 2 scores"),
        ({"masks": np.zeros((1, 5, 5))}, r"size \(5, 5\)"),
    ],
)
def test_mismatches_are_explained(gray, change, words):
    arguments = {"boxes": [[1, 1, 5, 5]], "labels": [0], "class_names": ["a", "b"], **change}
    with pytest.raises(ValueError, match=words):
        visualize.draw(gray, **arguments)


def test_batches_show_padding_and_ignore_regions():
    assets = pathlib.Path(__file__).parent.parent / "assets" / "data"
    spec = {
        "annotations": str(assets / "coco.json"),
        "images": str(assets),
        "masks": True,
        "transforms": [{"type": "Resize", "sizes": [133, 80]}],
    }
    inputs, targets = next(iter(kdet.data.load(spec).dataset()))
    (image,) = visualize.draw_batch(inputs, targets, ["cat", "dog"])
    h, w = inputs["valid_size"][0].numpy().astype(int)
    assert image.shape == inputs["images"].shape[1:]
    assert (image[h, : w - 1] == [255, 160, 0]).all() and not image[h + 1 :].any()
    dimmed = inputs["images"][0, 1:9, 1:9].numpy() // 3
    np.testing.assert_array_equal(image[1:9, 1:9], dimmed)  # a crowd, drawn without a box


def test_grid():
    sheet = visualize.grid(
        [np.zeros((10, 20, 3), np.uint8), np.zeros((30, 5, 3), np.uint8)] * 2, columns=3, gap=2
    )
    assert sheet.shape == (62, 64, 3)
    assert not sheet[:10, :20].any() and not sheet[32:, :5].any() and (sheet[10:32, :20] == 255).all()
    with pytest.raises(ValueError, match="no image"):
        visualize.grid([])
