"""Files that appear whole or not at all, also where the disk is full."""

import errno
import os
import pathlib
import types

import keras
import pytest
import tensorflow as tf

from kdet.data import tfrecord
from kdet.detectors.saving import Saving
from kdet.errors import WriteError
from kdet.export import saved_model
from kdet.train.callbacks import EpochLog
from kdet.writing import whole, writing

FULL = pathlib.Path("/dev/full")  # a device on which every write says that there is no room
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def no_room(path):
    return tf.errors.ResourceExhaustedError(None, None, f"{path}; No space left on device")


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "file"
    with whole(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["file"]


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = tmp_path / "folder"
    (path / "old").mkdir(parents=True)
    with whole(path) as part:
        (part / "new").mkdir(parents=True)
        assert (path / "old").exists()
    assert os.listdir(path) == ["new"] and os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_nothing_is_left_and_nothing_lost(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(type(error)), whole(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


@needs_full
def test_a_full_disk():
    with pytest.raises(WriteError, match=r"a/log cannot be written: No space left on device\."):
        with writing("a/log"), open(FULL, "w", buffering=1) as file:
            file.write("line\n")


def test_a_folder_that_may_not_be_written_to(tmp_path):
    with pytest.raises(WriteError, match=r"file/x cannot be written: .*Choose another folder"):
        (tmp_path / "file").write_text("a file")
        with whole(tmp_path / "file" / "x"):
            pass


def test_records_of_a_full_disk(tmp_path, monkeypatch):
    class Writer:
        def __init__(self, path):
            pathlib.Path(path).write_bytes(b"half")
            raise no_room(path)

    class Index:
        records, name = [], "index"

        def __len__(self):
            return 4

    monkeypatch.setattr(tf.io, "TFRecordWriter", Writer)
    monkeypatch.setattr(tfrecord, "_write_manifest", lambda *_: None)
    with pytest.raises(WriteError, match=r"train-00000-of-00002\.tfrecord cannot be written"):
        tfrecord.write_tfrecords(Index(), str(tmp_path / "train"), shards=2, progress=False)
    assert os.listdir(tmp_path) == []


@needs_full
def test_the_log_of_a_full_disk():
    log = EpochLog(FULL, [])
    log.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=1, learning_rate=0.1)))
    log.on_epoch_begin(0)
    with pytest.raises(WriteError, match="/dev/full cannot be written: No space left on device"):
        log.on_epoch_end(0, {"loss": 1.0})


def test_an_export_to_a_full_disk(tmp_path, monkeypatch):
    def save(module, path, signatures):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half")
        raise no_room(path)

    monkeypatch.setattr(saved_model, "save", save)
    monkeypatch.setattr(saved_model, "Program", lambda model, ops: types.SimpleNamespace(model=model))
    monkeypatch.setattr(saved_model, "_Functions", lambda *_: types.SimpleNamespace(signatures=dict))
    for name in ("in_precision", "dtype_of", "Canvas"):
        monkeypatch.setattr(saved_model, name, lambda model, *_: model)
    model = types.SimpleNamespace(preprocessor=None, smallest=0, name="tiny")
    with pytest.raises(WriteError, match="model/1 cannot be written"):
        saved_model.export_saved_model(model, tmp_path / "model" / "1")
    assert os.listdir(tmp_path / "model") == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_weights_are_begun_only_where_there_is_room_for_them(tmp_path, monkeypatch):
    asked = []

    def full(handle, start, size):
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    model = Saved()
    path = tmp_path / "my.weights.h5"
    model.save_weights(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WriteError, match=r"my\.weights\.h5 cannot be written: No space left"):
        model.save_weights(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["my.weights.h5"]
    assert asked[0] >= len(before) - 4096


class Saved(Saving):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.dense.build([None, 2])
        self.built = True
