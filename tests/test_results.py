"""What ``predict`` gives, as a dict and by image."""

import numpy as np
import pytest

from kdet.data import decoding
from kdet.results import Result, Results

NAMES = ["cat", "dog"]


@pytest.fixture
def results():
    masks = [np.zeros([2, 20, 30], bool), np.zeros([0, 10, 12], bool)]
    masks[0][0, 2:8, 3:9] = True
    found = {
        "boxes": np.float32([[[3, 2, 9, 8], [10, 4, 25, 18], [0, 0, 0, 0]], np.zeros([3, 4])]),
        "scores": np.float32([[0.9, 0.4, 0], [0, 0, 0]]),
        "labels": np.int32([[1, 0, -1], [-1, -1, -1]]),
        "num_detections": np.int32([2, 0]),
        "masks": masks,
    }
    images = [np.full([20, 30, 3], 200, np.uint8), np.zeros([10, 12, 3], np.uint8)]
    return Results(found, NAMES, images)


def test_it_is_the_dict(results):
    assert results["boxes"].shape == (2, 3, 4) and "masks" in results and len(results) == 5
    assert isinstance(results, dict) and set(dict(results)) == set(results)


def test_an_image_without_padding(results):
    first, second = results.images()
    assert len(first) == 2 and len(second) == 0 and second.names == []
    assert first.names == ["dog", "cat"] and first.scores.tolist() == np.float32([0.9, 0.4]).tolist()
    assert results[-1].masks.shape == (0, 10, 12)
    assert repr(first) == "Result(1 dog, 1 cat)" and repr(second) == "Result(nothing)"
    with pytest.raises(IndexError, match="2 images; got the index 2"):
        results[2]


def test_a_part_of_the_detections(results):
    assert results[0].above(0.5).names == ["dog"]
    assert results[0].where(results[0].labels == 0).masks.shape == (1, 20, 30)
    assert Result(np.zeros([1, 4]), np.ones(1), np.array([7])).names == ["class 7"]


def test_supervision(results):
    found = results[0].to_supervision()
    assert found.xyxy.tolist() == [[3, 2, 9, 8], [10, 4, 25, 18]] and found.class_id.tolist() == [1, 0]
    assert found.data["class_name"].tolist() == ["dog", "cat"] and found.mask[0].sum() == 36
    assert len(results[1].to_supervision()) == 0


def test_coco(results):
    first, second = results.to_coco(image_ids=[7, 9], category_ids=[18, 17])
    assert (first["image_id"], first["category_id"], first["bbox"]) == (7, 17, [3, 2, 6, 6])
    assert first["score"] == pytest.approx(0.9) and first["segmentation"]["size"] == [20, 30]
    assert second["category_id"] == 18 and results.to_coco()[1]["category_id"] == 1
    with pytest.raises(ValueError, match="2 images but 1 image_ids"):
        results.to_coco(image_ids=[1])


def test_pandas(results):
    pytest.importorskip("pandas", reason="pandas is the user's choice")
    table = results.to_pandas()
    assert list(table) == ["image", "x1", "y1", "x2", "y2", "score", "label", "name"]
    assert table["name"].tolist() == ["dog", "cat"] and table["image"].tolist() == [0, 0]


def test_drawing(results, tmp_path):
    drawn = results[0].plot(0.5)
    assert drawn.shape == (20, 30, 3) and (drawn != 200).any() and (results.sources[0] == 200).all()
    assert [path.name for path in results.save(tmp_path)] == ["00000.png", "00001.png"]
    np.testing.assert_array_equal(decoding.load(tmp_path / "00000.png"), results[0].plot())
    assert results[0].save(tmp_path / "a.jpg").exists()
    with pytest.raises(ValueError, match=r"a\.bmp must end in \.png"):
        results[0].save(tmp_path / "a.bmp")


def test_images_of_one_name_keep_their_own_file(results, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        results[0].save(tmp_path / folder / "x.png")
    again = Results(results, NAMES, [tmp_path / "a" / "x.png", str(tmp_path / "b" / "x.png")])
    again["masks"] = [np.zeros([len(m), 20, 30], bool) for m in again["masks"]]
    assert [path.name for path in again.save(tmp_path / "out")] == ["x.png", "x_1.png"]


def test_the_images_of_a_generator_are_gone(results):
    results.sources = None
    with pytest.raises(ValueError, match=r"plot\(image=\.\.\.\)"):
        results[0].plot()
    assert results[0].plot(image=np.zeros([20, 30, 3], np.uint8)).shape == (20, 30, 3)
