"""WIDER FACE's text files as a data set, and small faces as ignore regions."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

import kdet.data
from kdet.errors import DataError
from tests.data.steps import steps

TEXT = """0--Parade/one.jpg
3
10 12 20 25 0 0 0 0 0 0
40 12 16 30 0 0 0 0 0 0
60 10 30 30 2 0 0 1 0 0
0--Parade/two.jpg
0
0 0 0 0 0 0 0 0 0 0
1--March/three.jpg
2
5 5 9 9 0 0 0 0 0 0
30 5 0 9 0 0 0 0 0 0
"""
HEADER_OF_A_LARGE_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 100_000, 100_000)


@pytest.fixture
def split(tmp_path):
    (tmp_path / "faces.txt").write_text(TEXT)
    for name in ("0--Parade/one.jpg", "0--Parade/two.jpg", "1--March/three.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if "three" in name else 1  # turned by a quarter
        Image.new("RGB", (100, 80)).save(path, exif=exif)
    return {
        "type": "WiderFaceReader",
        "annotations": str(tmp_path / "faces.txt"),
        "images": str(tmp_path / "images"),
        "transforms": steps(Resize={"mode": "fixed", "sizes": [[64, 64]]}),
    }


def test_faces(split):
    index = kdet.data.read_index(split)
    one, two, three = index.records
    assert index.class_names == ["face"] and [r.image_id for r in index.records] == [0, 1, 2]
    np.testing.assert_array_equal(one.boxes, [[10, 12, 30, 37], [40, 12, 56, 42]])
    np.testing.assert_array_equal(one.ignore_boxes, [[60, 10, 90, 40]])  # marked invalid
    assert two.empty and two.name == "0--Parade/two.jpg"
    assert len(three.labels) == 1 and (three.height, three.width) == (100, 80)
    assert index.skips.counts == {"degenerate box (thinner than a pixel, or no area)": 1}


def test_images_with_small_faces_only_stay_as_negatives(split):
    pipeline = kdet.data.load({**split, "ignore_below": 17, "shuffle": False}, training=True)
    one, three = pipeline.index.records  # "two" has no face at all (filter_empty)
    np.testing.assert_array_equal(one.boxes, [[10, 12, 30, 37]])
    np.testing.assert_array_equal(one.ignore_boxes, [[60, 10, 90, 40], [40, 12, 56, 42]])
    assert len(three.labels) == 0 and three.ignore_boxes.tolist() == [[5, 5, 14, 14]]
    assert "2 x object with a side below 17 pixels, ignored (ignore_below)" in pipeline.report()
    for inputs, targets in pipeline.dataset().take(2):
        wanted = [[-1], [0]][int(inputs["image_id"][0]) == 0]
        assert targets["labels"][0].numpy().tolist() == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0--Parade/one.jpg\nthree\n",
            "line 2: the number of faces must follow the name '0--Parade/one.jpg'",
        ),
        (
            "0--Parade/one.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n",
            "line 2: the 2 faces of '0--Parade/one.jpg' must follow; 1 lines do",
        ),
        ("0--Parade/one.jpg\n1\n1 2 3 4\n", "line 3: a face must be ten numbers; got '1 2 3 4'"),
        ("0--Parade/one.jpg\n1\n1 2 3 x 0 0 0 0 0 0\n", "line 3: a face must be ten numbers"),
        ("0--Parade/one.jpg\n1\n1 2 nan 9 0 0 0 0 0 0\n", "line 3: a face must be ten numbers"),
        ("0--Parade/one.jpg\n1\n1 2 9 9 0 0 0 1e999 0 0\n", "line 3: a face must be ten numbers"),
        (
            f"0--Parade/one.jpg\n{'9' * 40}\n1 2 9 9 0 0 0 0 0 0\n",
            "line 2: the 99999.* faces of .* must follow",
        ),
        ("../one.jpg\n1\n1 2 9 9 0 0 0 0 0 0\n", "'../one.jpg' leads out of the folder"),
        ("text.jpg\n1\n1 2 9 9 0 0 0 0 0 0\n", "text.jpg cannot be decoded: it starts with b'no image'"),
        ("large.png\n1\n1 2 9 9 0 0 0 0 0 0\n", "large.png has 100000x100000 .* pixels by its header"),
        ("0--Parade/one.jpg\n", "line 2: the number of faces must follow"),
    ],
)
def test_bad_text_is_named_or_left_out(split, tmp_path, text, message):
    (tmp_path / "images" / "text.jpg").write_text("no image")
    (tmp_path / "images" / "large.png").write_bytes(HEADER_OF_A_LARGE_PNG)
    (tmp_path / "faces.txt").write_text(text)
    with pytest.raises(DataError, match=rf"faces\.txt.*{message}"):
        kdet.data.read_index(split)
    (tmp_path / "faces.txt").write_text(text + "\n1--March/three.jpg\n1\n5 5 9 9 0 0 0 0 0 0\n")
    index = kdet.data.read_index({**split, "on_corrupt": "skip"})
    assert index.records[-1].name == "1--March/three.jpg" and len(index.records[-1].labels) == 1
    assert len(index.skips.counts) == 1 and sum(len(r.labels) for r in index.records) in (1, 2)


def test_only_regular_files_are_opened(split, tmp_path):
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "faces.txt").write_text("pipe.jpg\n1\n1 2 9 9 0 0 0 0 0 0\n")
    with pytest.raises(DataError, match="pipe.jpg', which is no regular file"):
        kdet.data.read_index(split)
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match=r"pipe\.txt is no regular file"):
        kdet.data.read_index({**split, "annotations": str(tmp_path / "pipe.txt")})
