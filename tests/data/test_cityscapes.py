"""Cityscapes' instance maps and polygons as a data set."""

import json
import os

import numpy as np
import pytest
from PIL import Image

import kdet.data
from kdet.data.cityscapes import draw_polygons
from kdet.errors import DataError
from tests.data.steps import steps
from tests.evaluation.scenes import write_city


def street():
    found = np.zeros((40, 60), np.int32)
    found[4:14, 10:20] = 26000
    found[8:12, 15:30] = 24003  # in front of the car
    found[20:25, 5:9], found[20:25, 40:45] = 33, 33  # a group in two parts
    found[30:35, 0:9] = 29001  # a caravan
    return found


@pytest.fixture
def split(tmp_path):
    """``gtFine`` and ``leftImg8bit`` with a street, a street of groups only, and nothing."""
    groups = np.where(street() < 1000, street(), 7)
    write_city([street(), groups, np.full((40, 60), 7)], tmp_path)
    return {
        "type": "CityscapesReader",
        "annotations": str(tmp_path / "gtFine"),
        "images": str(tmp_path / "leftImg8bit"),
        "transforms": steps(Resize={"mode": "fixed", "sizes": [[60, 40]]}),
    }


def test_boxes_groups_and_classes(split):
    index = kdet.data.read_index(split)
    assert index.class_names == ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    assert index.category_ids == [24, 25, 26, 27, 28, 31, 32, 33]
    first, groups, nothing = index.records
    assert first.name == "aachen/aachen_000000_000019_leftImg8bit.png" and (first.height, first.width) == (
        40,
        60,
    )
    np.testing.assert_array_equal(first.labels, [0, 2])
    np.testing.assert_array_equal(first.boxes, [[15, 8, 30, 12], [10, 4, 20, 14]])
    np.testing.assert_array_equal(first.ignore_boxes, [[5, 20, 45, 25]])
    np.testing.assert_array_equal(first.ignore_labels, [7])
    assert groups.empty and nothing.empty and not first.empty
    assert [r.image_id for r in kdet.data.load(split, training=True).index.records] == [0]
    cars = kdet.data.read_index({**split, "classes": ["car"]})
    assert cars.category_ids == [26] and [len(r.labels) for r in cars.records] == [1, 0, 0]


def test_masks_are_what_is_seen(split):
    pipeline = kdet.data.load({**split, "masks": True}, training=True)
    _, targets = next(iter(pipeline.dataset()))
    person, car = np.unpackbits(targets["masks"][0].numpy(), axis=-1, count=60)[:2]
    np.testing.assert_array_equal(person, street() == 24003)
    np.testing.assert_array_equal(car, street() == 26000)


def test_ground_truth_has_masks_and_their_areas(split):
    truth = kdet.data.read_index(split).to_coco()
    found = [(a["image_id"], a["category_id"], a["iscrowd"], a["area"]) for a in truth["annotations"]]
    assert found == [(0, 33, 1, 45.0), (0, 24, 0, 60.0), (0, 26, 0, 80.0), (1, 33, 1, 45.0)]
    assert all(a["segmentation"]["size"] == [40, 60] for a in truth["annotations"])


POLYGONS = [
    ("sky", [[0, 0], [59, 0], [59, 39], [0, 39]], 23),
    ("car", [[2, 2], [9, 2], [9, 9], [2, 9]], 26000),
    ("car", [[20, 2], [29, 2], [29, 9], [20, 9]], 26001),
    ("cargroup", [[40, 2], [49, 2], [49, 9], [40, 9]], 26),
    ("license plate", [[3, 3], [5, 3], [5, 5], [3, 5]], 26000),  # is not drawn
    ("polegroup", [[0, 20], [9, 20], [9, 25], [0, 25]], 18),
    ("caravan", [[20, 20], [29, 20], [29, 25], [20, 25]], 29000),
]


def write_polygons(path, polygons, **change):
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"label": label, "polygon": polygon} for label, polygon, _ in polygons]
    path.write_text(json.dumps({"imgHeight": 40, "imgWidth": 60, "objects": entries, **change}))
    return str(path)


def test_polygons_become_a_map(split, tmp_path):
    """As json2instanceImg of cityscapesscripts draws them."""
    path = tmp_path / "gtFine" / "aachen" / "aachen_000002_000019_gtFine_polygons.json"
    found = draw_polygons(write_polygons(path, POLYGONS))
    for label, polygon, value in POLYGONS[1:]:
        (left, top), (right, bottom) = polygon[0], polygon[2]
        assert (found[top : bottom + 1, left : right + 1] == value).all(), label
    assert found.shape == (40, 60) and found[0, 0] == 23
    # the map that is there goes before the polygons
    assert len(kdet.data.read_index(split).records[2].labels) == 0
    path.with_name("aachen_000002_000019_gtFine_instanceIds.png").unlink()
    np.testing.assert_array_equal(
        kdet.data.read_index(split).records[2].boxes, [[2, 2, 10, 10], [20, 2, 30, 10]]
    )


@pytest.mark.parametrize(
    ("objects", "change", "message"),
    [
        ([("bycicle", [[0, 0], [1, 1]], 0)], {}, "object 0: unknown label 'bycicle'; nearest: 'bicycle'"),
        ([("car", [[0, 0], [1, float("nan")]], 0)], {}, r"object 0 \(car\): its polygon must be points"),
        ([("car", [[0, 0], [1, 1e9]], 0)], {}, r"object 0 \(car\): its polygon must be points"),
        ([("car", [[0, 0, 1], [1, 1]], 0)], {}, r"object 0 \(car\): its polygon must be points"),
        ([], {"imgHeight": 10**9}, "sides must be 1..32768"),
        ([], {"imgHeight": 32768, "imgWidth": 32768}, "pixels at most"),
        ([], {"imgHeight": "40"}, "imgWidth x imgHeight is 60 x '40'"),
        ([], {"objects": None}, "no Cityscapes annotation"),
        ([], {"objects": ["car"]}, "no Cityscapes annotation"),
        ([(["car"], [[0, 0], [1, 1]], 0)], {}, r"object 0: its label is \['car'\], not a text"),
        ([("car", {"x": 1}, 0)], {}, r"object 0 \(car\): its polygon must be points"),
        ([("car", [[0, 0], [1, True]], 0)], {}, r"object 0 \(car\): its polygon must be points"),
        ([("car", [[0, 0], [1, 1]], 0)] * 1001, {}, "object 1000: more than 1000 single objects 'car'"),
    ],
)
def test_polygons_that_are_wrong_are_named(tmp_path, objects, change, message):
    path = write_polygons(tmp_path / "a_gtFine_polygons.json", objects, **change)
    with pytest.raises(DataError, match=rf"a_gtFine_polygons\.json.*{message}"):
        draw_polygons(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no PNG", "is no readable PNG: cannot be decoded: it starts with b'no PNG'"),
        (b"\xff\xd8\xff\xe0", "is no readable PNG: it is of another kind"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0" * 2, "has 65536x65536"),
        (b"", "it is empty"),
        (None, "is no regular file"),
    ],
)
def test_maps_that_are_wrong_are_named_or_left_out(split, tmp_path, content, message):
    path = tmp_path / "gtFine" / "aachen" / "aachen_000000_000019_gtFine_instanceIds.png"
    if content is None:
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"aachen_000000.*{message}"):
        kdet.data.read_index(split)
    index = kdet.data.read_index({**split, "on_corrupt": "skip", "masks": True})
    assert index.skips.counts == {"unusable annotation file": 1} and len(index) == 2
    assert [r.image_id for r in index.records] == [0, 1] and index.records[0].name.startswith(
        "aachen/aachen_000001"
    )
    # the maps that are left belong to their images
    assert index.to_coco()["annotations"][0]["image_id"] == 0


def test_bad_input_is_named(split, tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a folder of Cityscapes such as gtFine/val"):
        kdet.data.read_index({**split, "annotations": "nowhere"})
    with pytest.raises(ValueError, match="holds no file that ends in _instanceIds.png"):
        kdet.data.read_index({**split, "annotations": split["images"]})
    with pytest.raises(ValueError, match="no class 'cars'.*car"):
        kdet.data.read_index({**split, "classes": ["cars"]})
    (tmp_path / "leftImg8bit" / "aachen" / "aachen_000001_000019_leftImg8bit.png").unlink()
    with pytest.raises(FileNotFoundError, match="aachen_000001_000019_leftImg8bit.png"):
        kdet.data.read_index(split)
    assert len(kdet.data.read_index({**split, "on_missing": "skip"})) == 2
    path = tmp_path / "gtFine" / "aachen" / "aachen_000000_000019_gtFine_instanceIds.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="aachen_000000.* must have one channel"):
        kdet.data.read_index({**split, "on_missing": "skip"})
