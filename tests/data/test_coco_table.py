"""COCO files in columns: what comes out equals what reading the whole file at once gives."""

import io
import json
import random
import shutil

import numpy as np
import pytest

import kdet.data
from kdet.data import coco, column_store, json_stream
from kdet.data.coco_file import CocoFile
from kdet.data.folders import ImageFolder
from kdet.data.index import Faults, Skips
from kdet.errors import DataError, KdetError
from tests.fuzz.mutations import damaged, mutated


@pytest.fixture
def folder(tmp_path, assets):
    for name in ("a.jpg", "b.png", "c.jpg"):
        shutil.copy(assets / name, tmp_path)
    return tmp_path


@pytest.fixture
def content(assets):
    return json.loads((assets / "coco.json").read_text())


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK", 64)


@pytest.fixture
def stores(monkeypatch, tmp_path):
    """A cache of its own, in which files of any size are kept."""
    monkeypatch.setattr(column_store, "SMALLEST", 0)
    monkeypatch.setenv("KDET_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "indexes"


def at_once(path, folder, masks, on_corrupt):
    """The records of a file one by one, as ``CocoFile`` reads it."""
    skips = Skips()
    faults = Faults(skips, on_corrupt)
    images = ImageFolder(folder)
    content = CocoFile(path, faults, masks)
    used = {a["category_id"] for found in content.annotations.values() for a in found}
    for number in sorted(content.roots - used):
        skips.add("category that only heads others, which is no class", content.names[number])
    numbers = [number for number in content.names if number not in content.roots - used]
    label_of = {number: label for label, number in enumerate(numbers)}
    records = []
    for info in content.images:
        found = coco._find(images, info["file_name"], path, "skip", faults)
        if found is not None:
            own = content.annotations[info["id"]]
            records.append(coco.make_record(info, found, own, label_of, masks, skips))
    return [content.names[number] for number in numbers], records, skips


def plain(names, records, skips):
    """Everything of an index in a form that ``==`` compares."""
    rows = [
        (
            r.image_id, r.name, r.source, r.height, r.width, r.boxes.tolist(), r.labels.tolist(), r.empty,
            r.ignore_boxes.tolist(), r.ignore_labels.tolist(),
            None if r.segmentations is None else [_two_keys(s) for s in r.segmentations],
            None if r.ignore_segmentations is None else [_two_keys(s) for s in r.ignore_segmentations],
        )
        for r in records
    ]  # fmt: skip
    return names, rows, list(skips.counts.items()), skips.examples


def _two_keys(shape):
    return {key: shape[key] for key in ("size", "counts")} if isinstance(shape, dict) else shape


def outcome(read):
    try:
        return plain(*read())
    except KdetError as error:
        return type(error), str(error)


def in_columns(path, folder, masks, on_corrupt):
    index = kdet.data.read_coco(path, folder, masks=masks, on_missing="skip", on_corrupt=on_corrupt)
    return index.class_names, index.records, index.skips


@pytest.mark.parametrize("block", [64, 2**23])
def test_damaged_files_read_as_before(folder, content, monkeypatch, block):
    monkeypatch.setattr(json_stream, "BLOCK", block)
    path, refused = folder / "coco.json", 0
    for seed in range(300):
        draw = random.Random(seed)
        tree = mutated(draw, content)
        text = json.dumps(tree, indent=draw.choice((None, None, 1))).encode()
        path.write_bytes(damaged(draw, text) if draw.random() < 0.2 else text)
        options = draw.random() < 0.7, draw.choice(("skip", "error"))
        expected = outcome(lambda options=options: at_once(path, folder, *options))
        assert outcome(lambda options=options: in_columns(path, folder, *options)) == expected, seed
        refused += expected[0] is DataError
    assert 50 < refused < 290


@pytest.mark.parametrize(
    "order", [("annotations", "categories", "images"), ("categories", "images", "annotations")]
)
def test_the_lists_may_come_in_any_order(folder, content, small_blocks, order):
    path = folder / "coco.json"
    path.write_text(json.dumps({"info": {"images": [1, "],}"]}, **{key: content[key] for key in order}}))
    assert outcome(lambda: in_columns(path, folder, True, "error")) == outcome(
        lambda: at_once(path, folder, True, "error")
    )


def test_a_list_comes_in_blocks(small_blocks):
    entries = [{"id": i, "text": '}, {"', "more": [{"a": 1}, {"b": [1, 2.5e-3]}]} for i in range(50)]
    file = io.BytesIO(json.dumps({"x": 1.5, "images": entries, "annotations": None, "y": [[]]}).encode())
    blocks = list(json_stream.lists(file, ("images", "annotations")))
    assert len(blocks) > 10 and blocks[-1] == ("annotations", [])
    assert [one for key, block in blocks for one in block if key == "images"] == entries


@pytest.mark.parametrize(
    "text",
    ['{"images": [{}', '{"images": [{},]}', '{"images": [1]}', '{"images": []} x', "[]", "", "{}",
     '{"images": {}}', '{"images": [{"a": "\xff"}]}', '{"images": [], "images": []}'],
)  # fmt: skip
def test_what_is_unusual_is_said(text, small_blocks):
    with pytest.raises(json_stream.Unusual):
        list(json_stream.lists(io.BytesIO(text.encode("latin-1")), ("images",)))


def test_numbers_that_orjson_refuses_are_read(small_blocks):
    file = io.BytesIO(b'{"images": [{"a": NaN}, {"a": "\\ud800"}, {"a": 1}]}')
    found = [one["a"] for _, block in json_stream.lists(file, ("images",)) for one in block]
    assert np.isnan(found[0]) and found[1:] == ["\ud800", 1]


def test_a_store_is_used_again_and_shared_by_its_content(folder, assets, stores, monkeypatch, content):
    path, same = folder / "coco.json", folder / "same.json"
    path.write_text(json.dumps(content))
    same.write_text(json.dumps(content))
    first = outcome(lambda: in_columns(path, folder, True, "error"))
    assert [one.name.split("-")[1] for one in stores.iterdir() if one.is_dir()] == ["masks"]
    monkeypatch.setattr(json_stream, "lists", None)  # nothing is parsed any more
    assert outcome(lambda: in_columns(path, folder, True, "error")) == first
    again = kdet.data.read_coco(same, folder, masks=True)
    assert plain(again.class_names, again.records, again.skips) == first
    again.records[0].boxes[0] = 7  # written into memory, not into the file
    assert again.records[0].boxes[0].tolist() == [7] * 4
    assert outcome(lambda: in_columns(same, folder, True, "error")) == first


def test_a_store_that_is_damaged_or_outdated_is_made_anew(folder, stores, content, caplog):
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    first = outcome(lambda: in_columns(path, folder, True, "error"))
    (store,) = [one for one in stores.iterdir() if one.is_dir()]
    for name, damage in (
        ("boxes.bytes", lambda old: old[:-1] + b"\7"),
        ("flags.bytes", lambda old: old[:-1]),
        ("facts.json", lambda old: old[:-9]),
        ("facts.json", lambda old: b"[]"),
    ):
        caplog.clear()
        (store / name).write_bytes(damage((store / name).read_bytes()))
        assert outcome(lambda: in_columns(path, folder, True, "error")) == first
        assert f"The index {store} is damaged" in caplog.text
    (store / "splits.bytes").unlink()
    assert outcome(lambda: in_columns(path, folder, True, "error")) == first
    del content["annotations"][0]
    path.write_text(json.dumps(content))
    assert outcome(lambda: in_columns(path, folder, True, "error")) != first
    assert not store.exists() and len([one for one in stores.iterdir() if one.is_dir()]) == 1


def test_faults_of_a_stored_file_are_told_each_time(folder, stores, content):
    content["annotations"][0]["category_id"] = "cat"
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    for _ in range(2):
        with pytest.raises(DataError, match="its category_id is 'cat', not a whole number"):
            kdet.data.read_coco(path, folder, masks=True)
        index = kdet.data.read_coco(path, folder, masks=True, on_corrupt="skip")
        assert index.skips.counts["unusable annotation"] == 1
        assert index.skips.examples["unusable annotation"][0].startswith(f"{path}: annotation ")


def test_a_cache_that_cannot_be_written_is_no_error(folder, stores, content, caplog, monkeypatch):
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    stores.parent.write_text("a file")
    assert len(kdet.data.read_coco(path, folder, masks=True)) == 3
    assert "is made in memory" in caplog.text


def test_a_damaged_segmentation_names_its_store(folder, stores, content):
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    kdet.data.read_coco(path, folder, masks=True)
    (file,) = stores.glob("*/shapes.bytes")
    facts = json.loads((file.parent / "facts.json").read_text())
    facts["columns"]["shapes"]["sum"] = None  # as of a large one
    (file.parent / "facts.json").write_text(json.dumps(facts))
    file.write_bytes(b"[" * file.stat().st_size)
    index = kdet.data.read_coco(path, folder, masks=True)
    with pytest.raises(DataError, match=f"{file.parent} is damaged: .* Remove that folder"):
        index.segmentations(index.records[0])
