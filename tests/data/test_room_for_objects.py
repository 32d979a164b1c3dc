"""The padded number of objects: one of a few for every global batch, whatever else is the same."""

import json

import numpy as np
import pytest

import kdet.data
from kdet.data import padding
from tests.train.run_engine import write_data

CROWDED, OBJECTS = 5, 40


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    """Eight images of one to three objects, and one of forty."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, [(64, 64)] * 8)
    content = json.loads((folder / "data.json").read_text())
    for number in range(OBJECTS):
        box = [number, number % 7, 12, 14]
        one = {"id": 1000 + number, "image_id": CROWDED, "category_id": 1 + number % 2, "bbox": box}
        one["segmentation"] = [[box[0], box[1], box[0] + 12, box[1], box[0] + 12, box[1] + 14]]
        content["annotations"].append({**one, "area": 168, "iscrowd": 0})
    content["annotations"] = [
        {"segmentation": [[*a["bbox"][:2], a["bbox"][0] + 9, a["bbox"][1], *a["bbox"][:2]]], **a}
        for a in content["annotations"]
    ]
    (folder / "data.json").write_text(json.dumps(content))
    transforms = [{"type": "Resize", "sizes": [[64, 64]]}, {"type": "RandomFlip"}]
    return {
        "annotations": str(folder / "data.json"),
        "images": str(folder),
        "transforms": transforms,
        "masks": True,
    }


def load(section, **keys):
    return kdet.data.load({**section, **keys}, training=True, batch_size=2, seed=3)


def batches(data, count=4):
    return [{**inputs, **targets} for inputs, targets in data.take(count)]


def test_counts():
    assert padding.object_counts(1) == (1,)
    assert padding.object_counts(8) == (8,)
    assert padding.object_counts(9) == (8, 9)
    assert padding.object_counts(1000) == (8, 32, 128, 512, 1000)


def test_a_crowded_image_costs_its_own_batch_alone(section):
    pipeline = load(section)
    most = pipeline.max_boxes
    assert pipeline.box_counts == (8, 32, most) and most > OBJECTS
    found = batches(pipeline.dataset())
    rooms = [batch["boxes"].shape[1] for batch in found]
    assert sorted(rooms) == [8, 8, 8, most]
    fixed = batches(load(section, max_boxes=most).dataset())
    for ours, room, theirs in zip(found, rooms, fixed, strict=True):
        assert (CROWDED in ours["image_id"].numpy()) == (room == most)
        for key, wanted in theirs.items():
            if key in ("boxes", "labels", "masks"):
                assert ours[key].shape[1] == room and wanted.shape[1] == most
                assert not np.any(wanted[:, room:] > 0)
                wanted = wanted[:, :room]
            np.testing.assert_array_equal(ours[key], wanted, err_msg=key)


def test_resumed_and_split_the_room_is_that_of_the_global_batch(section):
    pipeline = load(section)
    whole = batches(pipeline.dataset(), 6)
    for ours, theirs in zip(batches(pipeline.dataset(skip=2)), whole[2:], strict=True):
        np.testing.assert_array_equal(ours["boxes"], theirs["boxes"])
    parts = [batches(pipeline.dataset(shard=(part, 2)), 4) for part in range(2)]
    for first, second, theirs in zip(*parts, whole):
        np.testing.assert_array_equal(np.concatenate([first["boxes"], second["boxes"]]), theirs["boxes"])


def test_one_trace_takes_all(section):
    specs = load(section).dataset().element_spec[1]
    assert specs["boxes"].shape == (2, None, 4) and specs["labels"].shape == (2, None)
    assert load(section, max_boxes=12).dataset().element_spec[1]["boxes"].shape == (2, 12, 4)
    mixed = [{"type": "MixUp", "size": [64, 64]}, *section["transforms"]]
    pipeline = load(section, masks=False, transforms=mixed)
    assert pipeline.box_counts == (pipeline.max_boxes,)
    assert kdet.data.load(section, batch_size=2).box_counts == (pipeline.max_boxes // 2,)


def test_what_stands_in_for_a_broken_image_has_no_more_objects(section, tmp_path):
    content = json.loads(open(section["annotations"]).read())
    content["images"][4]["file_name"] = "broken.png"  # the next one is the crowded one
    (tmp_path / "a.json").write_text(json.dumps(content))
    with open(f"{section['images']}/broken.png", "wb") as file:
        file.write(b"no image")
    pipeline = load(section, annotations=str(tmp_path / "a.json"), on_corrupt="skip")
    counts = pipeline.index.records.objects.counts
    image, number = pipeline._images.at(3)
    assert number == 3 and image.shape == (64, 64, 3)
    _, number = pipeline._images.at(4)
    assert number not in (4, CROWDED) and counts[number] <= counts[4] < counts[CROWDED]
