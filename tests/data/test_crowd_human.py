"""CrowdHuman's files."""

import json
import shutil

import numpy as np
import pytest

import kdet.data
from kdet.data.recognize import one_data_set
from kdet.errors import DataError, MissingFile

PERSON = {"tag": "person", "fbox": [-3, 4, 30, 40], "hbox": [1, 1, 2, 2], "vbox": [1, 4, 9, 9]}
BOXES = [
    {**PERSON, "extra": {"box_id": 0, "occ": 1}},
    {"tag": "mask", "fbox": [5, 5, 20, 20], "hbox": [0, 0, 0, 0], "vbox": [0, 0, 0, 0]},
    {**PERSON, "fbox": [10, 10, 12, 14], "extra": {"ignore": 1}},
]


@pytest.fixture
def folder(tmp_path, assets):
    (tmp_path / "Images").mkdir()
    shutil.copy(assets / "a.jpg", tmp_path / "Images" / "273271,c9db000d5146c15.jpg")
    return tmp_path


def write(folder, *lines):
    path = folder / "annotation_val.odgt"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_people_and_what_does_not_count(folder):
    path = write(folder, {"ID": "273271,c9db000d5146c15", "gtboxes": BOXES}, "")
    index = kdet.data.read_crowd_human(path, folder / "Images")
    (record,) = index.records
    np.testing.assert_array_equal(record.boxes, [[-3, 4, 27, 44]])
    np.testing.assert_array_equal(record.ignore_boxes, [[5, 5, 25, 25], [10, 10, 22, 24]])
    assert index.class_names == ["person"] and list(record.labels) == [0]
    found = one_data_set(folder)
    assert found["type"] == "CrowdHumanReader" and found["annotations"] == str(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no JSON", r"line 1: an image must be a JSON mapping"),
        ({"ID": "x"}, r"line 1: an image must be .*gtboxes"),
        ({"ID": "../x", "gtboxes": []}, r"line 1: ID must be the name of an image"),
        ({"ID": 5, "gtboxes": []}, r"line 1: ID must be the name of an image; got 5"),
        ({"ID": "x", "gtboxes": [None]}, r"line 1: an image must be"),
        ({"ID": "x", "gtboxes": [{"tag": "person"}]}, r"line 1: .*fbox"),
        ("[" * 100000, r"line 1: "),
    ],
)
def test_damaged_lines_are_named_or_skipped(folder, line, message):
    path = write(folder, line, {"ID": "273271,c9db000d5146c15", "gtboxes": BOXES})
    with pytest.raises(DataError, match=message):
        kdet.data.read_crowd_human(path, folder / "Images")
    index = kdet.data.read_crowd_human(path, folder / "Images", on_corrupt="skip")
    assert len(index.records) == 1 and index.skips.counts["unusable entry"] == 1


def test_missing_images_and_masks(folder):
    path = write(folder, {"ID": "gone", "gtboxes": []})
    with pytest.raises(MissingFile, match="gone"):
        kdet.data.read_crowd_human(path, folder / "Images")
    with pytest.raises(DataError, match="no instance masks"):
        kdet.data.read_crowd_human(path, folder / "Images", masks=True)
