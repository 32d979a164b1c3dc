"""Files that would harm: each is refused with a sentence, at once and without memory."""

import json
import os
import pickle

import numpy as np
import pytest

import kdet.data
from kdet import yaml_loader
from kdet.data import decoding, masks, proposals, segmentations
from kdet.errors import ConfigError, DataError, KdetError


@pytest.fixture
def content(assets):
    return json.loads((assets / "coco.json").read_text())


def read(tmp_path, content, folder, **options):
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return kdet.data.read_coco(tmp_path / "coco.json", folder, masks=True, **options)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[1e9] * 6], "far outside of the 60x83"),
        ([{}, [1, 2, 30, 4, 5, 60]], "a polygon is a list of numbers .*, not {}"),
        ([[1, 2, 3, None, 5, 6]], "None where a number should be"),
        ([[float("nan")] * 6], "nan, far outside"),
        ({"size": [60, 83], "counts": "~~~~~~~~~~"}, "other characters"),
        ({"size": [60, 83], "counts": [1, 2]}, "cover 3 pixels, the image has 60x83 = 4980"),
        ({"size": [60, 83], "counts": [1.5, 4978.5]}, "whole number of pixels, got 1.5"),
        ({"size": [6, 8], "counts": [48]}, "for 6x8, the image is 60x83"),
    ],
)
def test_damaged_segmentations_are_named_or_skipped(tmp_path, assets, content, segmentation, words):
    content["annotations"][0]["segmentation"] = segmentation
    number = content["annotations"][0]["id"]
    with pytest.raises(DataError, match=f"annotation {number} of image a.jpg: .*{words}"):
        read(tmp_path, content, assets)
    index = read(tmp_path, content, assets, on_corrupt="skip")
    assert index.skips.counts["object with a damaged segmentation"] == 1
    with pytest.raises(DataError, match=words):
        masks.encode(segmentation, 60, 83)


def test_run_lengths_of_pycocotools_pass():
    mask = np.random.default_rng(0).random((37, 23)) > 0.5
    assert segmentations.fault(masks.encode_pixels(mask), 37, 23) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/dev/zero", "leads out of the folder"),
        ("../note.txt", "leads out of the folder"),
        ("pipe.jpg", "is no regular file"),
        ("loop.jpg", "is no regular file"),
        ("sub\\a.jpg", "The folder holds 'a.jpg'"),
        ("A.JPG", "The folder holds 'a.jpg'"),
    ],
)
def test_images_stay_in_their_folder(tmp_path, assets, content, name, words):
    folder = tmp_path / "images"
    folder.mkdir()
    for image in ("a.jpg", "b.png", "c.jpg"):
        (folder / image).write_bytes((assets / image).read_bytes())
    os.mkfifo(folder / "pipe.jpg")
    os.symlink("loop.jpg", folder / "loop.jpg")
    content["images"][0]["file_name"] = name
    with pytest.raises(DataError, match=words):
        read(tmp_path, content, folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
        ), "more than 200000 values"),
        ("a: &a [*a]", "stands inside of itself"),
        ("[" * 500 + "]" * 500, "nested more than 60 deep"),
    ],
)  # fmt: skip
def test_yaml_bombs(text, words):
    with pytest.raises(ConfigError, match=words):
        yaml_loader.load(text, "recipe.yaml")


class Trusted:
    """An array of objects: its bytes would be taken for pointers."""

    def __reduce__(self):
        return np.ndarray, ((1,), np.dtype("O"), b"\x10" * 8)


@pytest.mark.parametrize("content", [[Trusted()], {(((), ()), ()): 1}, [np.array([object()])]])
def test_pickles_cannot_name_what_they_like(tmp_path, content):
    try:
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(content))
    except (pickle.PicklingError, TypeError, AttributeError):
        pytest.fail("the test's own object cannot be written")
    with pytest.raises(DataError, match="p.pkl"):
        proposals.read_proposals(tmp_path / "p.pkl", [1], 10)


def test_images_are_measured_before_they_are_decoded(assets):
    png = bytearray((assets / "b.png").read_bytes())
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(decoding.CorruptImage, match="100000x100000 .* at most"):
        decoding.decode(bytes(png))


def test_deep_json_is_an_error(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="nested too deeply"):
        kdet.data.read_coco(tmp_path / "deep.json", tmp_path)


def test_a_limit_of_pixels_from_the_environment_is_a_number(assets, monkeypatch):
    encoded = (assets / "a.jpg").read_bytes()
    monkeypatch.setenv("KDET_MAX_PIXELS", "100")
    with pytest.raises(decoding.CorruptImage, match="at most 100 are decoded"):
        decoding.decode(encoded)
    for wrong in ("many", "-1", "0", "1e6"):
        monkeypatch.setenv("KDET_MAX_PIXELS", wrong)
        with pytest.raises(KdetError, match=f"KDET_MAX_PIXELS is a whole number from 1 on, not .{wrong}"):
            decoding.decode(encoded)
    monkeypatch.setenv("KDET_MAX_PIXELS", "")
    assert decoding.decode(encoded).ndim == 3


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_an_entry_that_is_null_is_no_mapping(tmp_path, assets, content, key):
    content[key].append(None)
    with pytest.raises(DataError, match=f"an entry of '{key}' is no mapping but None"):
        read(tmp_path, content, assets)
