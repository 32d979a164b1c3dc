"""The index beside TFRecord files: a start reads no example, and what it gives is what the examples say."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import tfrecord, tfrecord_index
from kdet.errors import DataError
from tests.data.test_coco_table import plain


@pytest.fixture
def written(coco, tmp_path):
    index = kdet.data.read_index(coco)
    kdet.data.write_tfrecords(index, tmp_path / "train", shards=2, progress=False)
    return sorted(tmp_path.glob("train-*"))


def read(tmp_path, **options):
    index = kdet.data.read_tfrecord(str(tmp_path / "train-*"), **options)
    return plain(index.class_names, index.records, index.skips), index.category_ids


def by_reading(tmp_path, monkeypatch, **options):
    """What comes out where no index is used."""
    with monkeypatch.context() as patch:
        patch.setattr(tfrecord, "_shards", lambda paths, masks: None)
        return read(tmp_path, **options)


def no_reading(monkeypatch):
    monkeypatch.setattr(tfrecord_index, "records_of", None)
    monkeypatch.setattr(tfrecord, "records_of", None)


@pytest.mark.parametrize(
    "options", [{}, {"masks": True}, {"classes": ["dog"]}, {"crowds": "objects", "masks": True}]
)
def test_it_says_what_the_examples_say(written, tmp_path, monkeypatch, options):
    expected = by_reading(tmp_path, monkeypatch, **options)
    no_reading(monkeypatch)
    assert read(tmp_path, **options) == expected
    index = kdet.data.read_tfrecord(str(written[0]), **options)
    assert index.read(index.records[0])[:2] == b"\xff\xd8"
    if "masks" in options:
        assert index.segmentations(index.records[0])[0][1:4] == b"PNG"


def test_it_is_made_once_where_it_is_missing(written, tmp_path, monkeypatch):
    expected = read(tmp_path)
    for path in tmp_path.glob(".train-*.index"):
        path.unlink()
    assert read(tmp_path) == expected and len(list(tmp_path.glob(".train-*.index"))) == 2
    no_reading(monkeypatch)
    assert read(tmp_path) == expected


@pytest.mark.parametrize(
    "damage", [lambda old: old[:-30], lambda old: b"", lambda old: old[:900] + b"\7" * 90 + old[990:]]
)
def test_a_damaged_one_is_made_anew(written, tmp_path, caplog, damage):
    expected, place = read(tmp_path), tfrecord_index.place_of(written[0])
    place.write_bytes(damage(place.read_bytes()))
    assert read(tmp_path) == expected
    assert f"The index {place} is damaged" in caplog.text
    caplog.clear()
    assert read(tmp_path) == expected and not caplog.text


def test_one_of_another_file_is_made_anew(written, tmp_path, caplog):
    read(tmp_path)
    first, second = written
    examples = [one.numpy() for one in tf.data.TFRecordDataset(str(first))]
    examples[-1] = examples[-1].replace(b"cat", b"cow")  # the file has the same size
    with tf.io.TFRecordWriter(str(first)) as writer:
        for example in examples:
            writer.write(example)
    with pytest.raises(DataError, match="dog"):
        kdet.data.read_tfrecord(str(first), classes=["bird"])
    assert "does not belong to" in caplog.text
    index = kdet.data.read_tfrecord(str(first))
    assert tfrecord_index.shard_index(first).classes[7] == "cow" and len(index) == 1
    assert second.exists()


def test_where_it_cannot_be_written_files_are_read(written, tmp_path, caplog, monkeypatch):
    expected = read(tmp_path)
    for path in tmp_path.glob(".train-*.index"):
        path.unlink()
        path.mkdir()
        (path / "taken").touch()
    assert read(tmp_path) == expected
    assert "read through at every start" in caplog.text or "damaged" in caplog.text


def test_files_with_unusable_examples_have_none(written, tmp_path):
    for path in tmp_path.glob(".train-*.index"):
        path.unlink()
    examples = [one.numpy() for one in tf.data.TFRecordDataset(str(written[0]))]
    with tf.io.TFRecordWriter(str(written[0])) as writer:
        for example in [*examples, b"no example"]:
            writer.write(example)
    for _ in range(2):
        with pytest.raises(DataError, match="it is no TFExample"):
            read(tmp_path)
        found, _ = read(tmp_path, on_corrupt="skip")
        assert found[2] == [("unusable example", 1)]
    assert not tfrecord_index.place_of(written[0]).exists()


def test_ids_that_clash_are_named(written, tmp_path):
    written[1].write_bytes(written[0].read_bytes())
    with pytest.raises(DataError, match="has the image/source_id 1, which the one at byte 12 of"):
        read(tmp_path)


def test_numbers_of_examples_without_ids(tmp_path):
    example = tf.train.Example()
    image = tf.io.encode_png(np.zeros((4, 6, 3), np.uint8)).numpy()
    example.features.feature["image/encoded"].bytes_list.value.append(image)
    path = tmp_path / "train-0.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(example.SerializeToString())
    index = tfrecord_index.shard_index(path)
    assert index.source_id.tolist() == [-1] * 3
    assert tfrecord._image_ids([index, index]).tolist() == list(range(6))
