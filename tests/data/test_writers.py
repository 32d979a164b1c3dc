"""What is written is read back: boxes, masks, crowds, names; what a format cannot hold is counted."""

import json

import numpy as np
import pytest

import kdet.data
from kdet.data import masks, outlines, writers
from kdet.errors import DataError
from tests.data import made

SHAPES = {
    "whole": np.ones((5, 7)),
    "pixel": np.eye(1),
    "steps": np.tri(9, 8),
    "corners": np.eye(6) + np.eye(6)[::-1],
    "ring": np.pad(np.zeros((2, 3)), 2, constant_values=1),
    "rings": np.pad(np.pad(np.pad(np.ones((2, 2)), 1), 2, constant_values=1), 1),
    "noise": np.random.default_rng(3).random((24, 31)) < 0.5,
}


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_draw_the_same_pixels_again(name):
    mask = np.pad(SHAPES[name], 2).astype(np.uint8)
    size = mask.shape
    parts = outlines.polygons(mask)
    # apart, holes would be filled
    one = outlines.joined(parts)
    np.testing.assert_array_equal(masks.rasterize([one], *size), mask)


def test_a_rectangle_has_four_corners():
    assert outlines.polygons(np.ones((2, 3))) == [[0.0, 0.0, 3.0, 0.0, 3.0, 2.0, 0.0, 2.0]]
    assert outlines.joined([]) == []


def source(tmp_path):
    """Two images with a polygon, a ring as run lengths, a crowd, and a box that reaches out."""
    made.images(tmp_path / "images" / "deep")
    ring = np.zeros((40, 60), np.uint8)
    ring[10:30, 20:50] = 1
    ring[15:25, 30:40] = 0
    crowd = np.zeros((40, 60), np.uint8)
    crowd[:5, :9] = 1
    two = [[2.0, 2.0, 12.0, 2.0, 7.0, 12.0], [22.0, 2.0, 32.0, 2.0, 27.0, 8.5]]
    rows = [
        (7, [2, 2, 30, 10], two, 0, 1),
        (3, [20, 10, 30, 20], masks.encode_pixels(ring), 0, 1),
        (7, [0, 0, 9, 5], masks.encode_pixels(crowd), 1, 1),
        (3, [-4, 10, 20.5, 20], [[-4, 10, 16.5, 10, 16.5, 30, -4, 30]], 0, 2),
    ]
    content = {
        "images": [
            {"id": 1, "file_name": "deep/a.png", "height": 40, "width": 60},
            {"id": 2, "file_name": "deep/b.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog: big"}, {"id": 9, "name": "no"}],
        "annotations": [
            {
                "id": i,
                "category_id": c,
                "bbox": b,
                "segmentation": s,
                "iscrowd": k,
                "image_id": image,
                "area": 9,
            }
            for i, (c, b, s, k, image) in enumerate(rows)
        ],
    }
    path = made.write(tmp_path / "train.json", content)
    return kdet.data.read_coco(path, tmp_path / "images", masks=True)


def written(tmp_path, index, format, **options):
    losses = writers.write_data_set({"train": index, "val": index}, tmp_path / "out", format, **options)
    sets = kdet.data.data_sets(tmp_path / "out")
    assert list(sets) == ["train", "val"]
    return losses.counts, sets["val"]


def drawn(index, record, ignored=False):
    return [masks.rasterize(s, record.height, record.width) for s in index.segmentations(record, ignored)]


@pytest.mark.parametrize("format", ["coco", "tfrecord"])
def test_coco_and_tfrecord_hold_everything(tmp_path, format):
    index = source(tmp_path)
    losses, spec = written(tmp_path, index, format)
    assert losses == {}
    again = kdet.data.read_index({**spec, "masks": True})
    assert again.class_names == index.class_names == ["cat", "dog: big", "no"]
    for old, new in zip(index.records, again.records, strict=True):
        assert (old.height, old.width) == (new.height, new.width)
        np.testing.assert_allclose(new.boxes, old.boxes, atol=1e-4)
        np.testing.assert_allclose(new.ignore_boxes, old.ignore_boxes, atol=1e-4)
        assert new.labels.tolist() == old.labels.tolist()
        assert new.ignore_labels.tolist() == old.ignore_labels.tolist()
        np.testing.assert_array_equal(drawn(index, old), drawn(again, new))
        np.testing.assert_array_equal(drawn(index, old, True), drawn(again, new, True))
        assert index.read(old) == again.read(new)


def test_coco_of_another_format_keeps_polygons(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path / "tool"), masks=True)
    writers.write_data_set({"all": index}, tmp_path / "out", "coco", link=True)
    content = json.loads((tmp_path / "out" / "all.json").read_text())
    assert [a["segmentation"] for a in content["annotations"]][1] == [made.DOG]
    assert content["annotations"][0]["area"] == 400 and content["annotations"][0]["iscrowd"] == 0
    assert (tmp_path / "out/images/all/a.png").samefile(tmp_path / "tool/a.png")
    (spec,) = kdet.data.data_sets(tmp_path / "out").values()
    again = kdet.data.read_index({**spec, "masks": True})
    np.testing.assert_allclose(again.records[0].boxes, index.records[0].boxes)


def test_yolo_holds_masks_with_parts_and_holes(tmp_path):
    index = source(tmp_path)
    losses, spec = written(tmp_path, index, "yolo")
    assert losses == {"crowd or region to ignore, which YOLO does not have, left out": 2}  # in both splits
    again = kdet.data.read_index({**spec, "masks": True})
    assert again.class_names == index.class_names
    for old, new in zip(index.records, again.records, strict=True):
        assert new.labels.tolist() == old.labels.tolist()
        for first, second in zip(drawn(index, old), drawn(again, new), strict=True):
            assert (first != second).sum() <= 2  # the bridge between parts at fractions of pixels
    np.testing.assert_array_equal(drawn(index, index.records[0])[1], drawn(again, again.records[0])[1])
    assert (tmp_path / "out" / "labels" / "train" / "a.txt").read_text().count("\n") == 2


def test_yolo_boxes_are_those_of_the_source(tmp_path):
    index = source(tmp_path)
    boxes = kdet.data.read_coco(index.coco_file, tmp_path / "images")
    losses, spec = written(tmp_path, boxes, "yolo")
    assert losses["box that reaches out of the image, cut to it"] == 2
    again = kdet.data.read_index(spec)
    np.testing.assert_allclose(again.records[0].boxes, boxes.records[0].boxes, atol=1e-4)
    np.testing.assert_allclose(again.records[1].boxes, [[0, 10, 16.5, 20]], atol=1e-4)


def test_voc_rounds_and_leaves_masks_out(tmp_path):
    index = source(tmp_path)
    losses, spec = written(tmp_path, index, "voc")
    assert losses == {
        "class without an object, which VOC does not list": 2,
        "mask, which VOC does not have, left out": 6,
        "box that reaches out of the image, cut to it": 2,
        "box rounded to whole pixels": 2,
    }
    again = kdet.data.read_index({**spec, "classes": ["cat", "dog: big"]})
    first, second = again.records
    np.testing.assert_allclose(first.boxes, index.records[0].boxes)
    np.testing.assert_allclose(first.ignore_boxes, index.records[0].ignore_boxes)
    assert first.labels.tolist() == [0, 1] and first.ignore_labels.tolist() == [0]
    np.testing.assert_allclose(second.boxes, [[0, 10, 16, 20]])


def test_images_of_voc_get_their_ending(tmp_path, assets):
    index = kdet.data.read_voc(assets / "voc" / "ImageSets" / "Main" / "train.txt")
    losses, spec = written(tmp_path, index, "yolo")
    again = kdet.data.read_index(spec)
    assert [r.name.split("/")[-1] for r in again.records] == [f"{r.name}.jpg" for r in index.records]
    np.testing.assert_allclose(again.records[0].boxes, np.clip(index.records[0].boxes, 0, None), atol=1e-3)


def test_rounding_in_a_file_is_no_loss(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path / "tool"))
    index.records[0].boxes[0] = [-1e-5, 4.99999, 30, 40.00001]
    losses, spec = written(tmp_path, index, "voc")
    assert losses == {}
    np.testing.assert_array_equal(kdet.data.read_index(spec).records[0].boxes[0], [0, 5, 30, 40])


def test_names_stay_apart_and_inside(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path / "tool"))
    index.records = index.records.with_columns(names=["../x/IMG 1.png", "y/IMG 1.jpg"])
    writers.write_data_set({"train": index}, tmp_path / "flat", "voc")
    assert sorted(p.name for p in (tmp_path / "flat/JPEGImages/train").rglob("*.*")) == [
        "IMG 1.jpg",
        "IMG 1.png",
    ]
    assert len(kdet.data.read_voc(tmp_path / "flat/ImageSets/Main/train.txt")) == 2
    index.records = index.records.with_columns(names=["IMG 1.png", "IMG 1.jpg"])
    writers.write_data_set({"train": index}, tmp_path / "yolo", "yolo")
    there = sorted(p.name for p in (tmp_path / "yolo/images/train").iterdir())
    assert there == ["IMG 1.png", "IMG 1_1.jpg"]


def test_what_cannot_be_written_is_refused(tmp_path):
    index = kdet.data.read_labelme(made.labelme(tmp_path / "tool"))
    with pytest.raises(DataError, match="no writer for 'yollo'.*'yolo'"):
        writers.write_data_set({"train": index}, tmp_path / "out", "yollo")
    with pytest.raises(DataError, match="is not empty: choose a new one"):
        writers.write_data_set({"train": index}, tmp_path / "tool", "yolo")
    other = kdet.data.read_labelme(tmp_path / "tool", classes=["dog"])
    with pytest.raises(DataError, match="has the classes"):
        writers.write_data_set({"train": index, "val": other}, tmp_path / "out", "yolo")
    (tmp_path / "tool" / "a.png").write_bytes(b"text")
    with pytest.raises(DataError, match="The image a.png .* is not JPEG"):
        writers.write_data_set({"train": index}, tmp_path / "out", "yolo")
