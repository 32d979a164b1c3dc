"""The reader of COCO's panoptic task: objects, masks and class maps of the same PNGs."""

import json

import numpy as np
import pytest

import kdet.data
from kdet.errors import DataError, MissingFile
from tests.evaluation import panoptic_scenes as scenes


@pytest.fixture
def folder(tmp_path):
    scenes.write(tmp_path, 3)
    return tmp_path


def section(folder, **more):
    return {
        "type": "CocoPanopticReader",
        "annotations": str(folder / "truth.json"),
        "images": str(folder / "images"),
        **more,
    }


def change(folder, edit):
    path = folder / "truth.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_things_are_objects_and_stuff_comes_last(folder):
    index = kdet.data.read_index(section(folder, masks=True))
    assert index.class_names == ["cat", "dog", "sky", "grass", "road"] and index.num_stuff == 3
    assert index.category_ids == scenes.LABELS and index.has_segments
    for record, (numbers, labels, crowds, _, _) in zip(index.records, scenes.scenes(3), strict=True):
        things = sorted(n for n, label in labels.items() if label < 2 and n not in crowds)
        assert sorted(record.segmentations) == things
        assert len(record.ignore_labels) == len(crowds)
        for key, rle, box in zip(
            record.segmentations, index.segmentations(record), record.boxes, strict=True
        ):
            mask = kdet.data.masks.rasterize(rle, *scenes.SIZE)
            np.testing.assert_array_equal(mask, numbers == key)
            x1, y1, x2, y2 = box.astype(int)
            assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0
        classes = np.full(scenes.SIZE, 255)
        for number, label in labels.items():
            classes[numbers == number] = label
        np.testing.assert_array_equal(record.segments.classes(*scenes.SIZE), classes)


def test_the_pipeline_delivers_class_maps_that_follow_the_image(folder):
    resize = {"type": "Resize", "sizes": [[96, 128]], "mode": "fixed"}
    flip = {"type": "RandomFlip", "probability": 1.0}
    spec = section(folder, masks=True, semantic_stride=2, transforms=[resize, flip], filter_empty=False)
    pipeline = kdet.data.load({**spec, "shuffle": False, "limit": 2}, training=True, batch_size=2)
    inputs, targets = next(iter(pipeline.dataset()))
    assert inputs["images"].shape == (2, 128, 96, 3) and targets["semantic"].shape == (2, 64, 48)
    order = [int(i) for i in inputs["image_id"]] if "image_id" in inputs else [0, 1]
    for row, number in enumerate(order):
        record = pipeline.index.records[number]
        wanted = record.segments.classes(*scenes.SIZE)[:, ::-1]
        rows, columns = (np.arange(n) * size // n for n, size in zip((64, 48), scenes.SIZE, strict=True))
        same = targets["semantic"][row].numpy() == wanted[rows][:, columns]
        assert same.mean() > 0.8  # but for the rounding of the two resizes at the borders of the blocks


def test_classes_can_be_chosen(folder):
    index = kdet.data.read_index(section(folder, classes=["dog", "road"]))
    assert index.num_stuff == 1 and {
        label for r in index.records for label in r.segments.labels.values()
    } == {0, 1}
    with pytest.raises(DataError, match="all things before all stuff, but 'sky'"):
        kdet.data.read_index(section(folder, classes=["sky", "cat"]))


def test_a_missing_map(folder):
    (folder / "truth" / "0.png").unlink()
    with pytest.raises(MissingFile, match="0.png"):
        kdet.data.read_index(section(folder))
    assert len(kdet.data.read_index(section(folder, on_missing="skip"))) == 11


def test_a_map_of_another_size(folder):
    index = kdet.data.read_index(section(folder))
    (folder / "truth" / "1.png").write_bytes((folder / "images" / "1.png").read_bytes()[:40])
    with pytest.raises(DataError, match="no readable PNG"):
        index.records[1].segments.numbers(*scenes.SIZE)
    with pytest.raises(DataError, match="48x64 .* but its image 50x64"):
        index.records[2].segments.numbers(50, 64)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["categories"][0].pop("isthing"), "'sky' has isthing None"),
        (lambda c: c["annotations"][0].pop("segments_info"), "no file of COCO's panoptic task"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=0), "ids are whole numbers from 1"),
    ],
)
def test_a_file_of_another_kind(folder, edit, message):
    change(folder, edit)
    with pytest.raises(DataError, match=message):
        kdet.data.read_index(section(folder))


def test_transforms_that_move_objects_are_refused(folder):
    spec = section(folder, masks=True, transforms=[{"type": "CopyPaste"}])
    with pytest.raises(DataError, match="the class maps of data.type: CocoPanopticReader cannot follow"):
        kdet.data.load(spec, training=True)
