"""Files behind URLs: in memory, on a server that fails now and then, and on a local S3 server."""

import http.server
import json
import os
import threading

import fsspec
import keras
import numpy as np
import pytest

import kdet.data
from kdet import storage
from kdet.config import Config
from kdet.data import files
from kdet.detectors.given import images_of
from kdet.errors import DataError, KdetError, MissingFile, WriteError
from kdet.train import engine
from kdet.writing import check_target, whole
from tests import remote
from tests.remote import Flaky, get, put, put_folder
from tests.train.run_engine import write_data, write_recipe

clean_stores, s3 = remote.clean_stores, remote.s3


@pytest.mark.parametrize("path", ["a/b.jpg", "/a/b.jpg", "C:\\a\\b.jpg", "C:/a.jpg", b"s3://a", None])
def test_local_paths_are_no_urls(path):
    assert not storage.is_url(path)


def test_a_copy_is_made_once_and_renewed_when_the_file_changes():
    put("flaky://box/a.txt", b"first")
    assert files.read_bytes("flaky://box/a.txt") == files.read_bytes("flaky://box/a.txt") == b"first"
    assert Flaky.calls == 1
    put("flaky://box/a.txt", b"second")
    storage._known.clear()  # as in the next process
    assert files.read_text("flaky://box/a.txt") == "second"


def test_transfers_are_tried_again_and_then_name_the_url(monkeypatch):
    put("flaky://box/a.txt", b"content")
    Flaky.faults, Flaky.cuts = 2, 1
    assert files.read_bytes("flaky://box/a.txt") == b"content" and Flaky.calls == 4
    storage._known.clear()
    put("flaky://box/b.txt", b"more")
    monkeypatch.setenv("KDET_REMOTE_TRIES", "3")
    Flaky.faults, Flaky.calls = 9, 0
    with pytest.raises(DataError, match="flaky://box/b.txt could not be read in 3 tries: Connection reset"):
        files.read_bytes("flaky://box/b.txt")
    assert Flaky.calls == 3
    Flaky.calls = 0
    with pytest.raises(MissingFile, match="There is no file flaky://box/c.txt"):
        files.read_bytes("flaky://box/c.txt")
    with pytest.raises(WriteError, match="flaky://box/d.txt could not be written in 3 tries"):
        with whole("flaky://box/d.txt") as part:
            part.write_text("x")
    assert not fsspec.filesystem("flaky").exists("flaky://box/d.txt")


def test_what_is_written_arrives_whole_or_not_at_all():
    Flaky.faults = 1
    with whole("flaky://box/deep/a.txt") as part:
        part.write_text("content")
    assert get("flaky://box/deep/a.txt") == b"content"
    with pytest.raises(RuntimeError):
        with whole("flaky://box/b.txt") as part:
            part.write_text("half")
            raise RuntimeError
    assert not fsspec.filesystem("flaky").exists("flaky://box/b.txt")
    with whole("memory://box/folder") as part:
        (part / "sub").mkdir(parents=True)
        (part / "sub" / "a.txt").write_text("inside")
    assert get("memory://box/folder/sub/a.txt") == b"inside"


def test_kinds_of_urls_that_there_are_not():
    with pytest.raises(DataError, match="nothing://a/b cannot be opened: Protocol not known"):
        files.read_bytes("nothing://a/b")
    with pytest.raises(WriteError, match="nothing://a/b cannot be opened"):
        check_target("nothing://a/b", folder=False, what="file")
    check_target("memory://a/b", folder=True, what="run")


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(KdetError, match=r"needs the package fsspec: pip install 'kdet\[remote\]'"):
        files.read_bytes("memory://a/b")


def test_the_cache_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setenv("KDET_REMOTE_CACHE", str(2500 / 2**30))
    for number in range(6):
        put(f"memory://box/{number}", bytes(1000))
        path = storage.local(f"memory://box/{number}")
        os.utime(path, (number, number))
    kept = {path.name.rpartition("-")[2] for path in (tmp_path / "home/remote").iterdir()}
    assert kept == {"4", "5"}
    assert files.read_bytes("memory://box/0") == bytes(1000)  # comes again


def test_a_data_set_behind_urls_is_the_local_one(tmp_path):
    write_data(tmp_path, [(48, 64)] * 3)
    put_folder(tmp_path, "memory://bucket/set")
    spec = {"transforms": [{"type": "Resize", "sizes": [[64, 48]]}]}
    here = {"annotations": str(tmp_path / "data.json"), "images": str(tmp_path)}
    there = {"annotations": "memory://bucket/set/data.json", "images": "memory://bucket/set"}
    wanted, found = (list(kdet.data.load({**spec, **one}, batch_size=3).dataset()) for one in (here, there))
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        for key, value in theirs.items():
            np.testing.assert_array_equal(ours[key], value, err_msg=key)
    fsspec.filesystem("memory").rm("memory://bucket/set/data1.png")
    with pytest.raises(MissingFile, match="memory://bucket/set/data1.png.*does not exist"):
        kdet.data.load({**spec, **there})


def test_names_do_not_lead_out_of_a_bucket(tmp_path):
    write_data(tmp_path, [(48, 64)])
    content = json.loads((tmp_path / "data.json").read_text())
    content["images"][0]["file_name"] = "../other/data0.png"
    put("memory://bucket/a.json", json.dumps(content).encode())
    with pytest.raises(DataError, match="leads out of the folder memory://bucket"):
        kdet.data.load({"annotations": "memory://bucket/a.json", "images": "memory://bucket"})


def test_tfrecords_behind_a_pattern(tmp_path):
    write_data(tmp_path, [(48, 64)] * 4)
    index = kdet.data.read_index({"annotations": str(tmp_path / "data.json"), "images": str(tmp_path)})
    shards = tmp_path / "shards"
    kdet.data.write_tfrecords(index, str(shards / "a"), shards=2, progress=False)
    put_folder(shards, "memory://bucket/shards")
    found = kdet.data.read_index(
        {"type": "TFRecordReader", "annotations": "memory://bucket/shards/*.tfrecord"}
    )
    assert [r.image_id for r in found.records] == [r.image_id for r in index.records]


def test_images_to_predict_may_be_urls():
    for name in ("b.png", "a.JPG", "notes.txt", "hash"):
        put(f"memory://bucket/set/{name}", b"...")
    urls = ["memory://bucket/set/a.JPG", "memory://bucket/set/b.png"]
    assert images_of(urls[1]) == urls[1:]
    assert images_of("memory://bucket/set") == images_of("memory://bucket/set/*") == urls
    assert images_of("memory://bucket/set/hash") == ["memory://bucket/set/hash"]
    assert images_of("https://host/a.png?size=3") == ["https://host/a.png?size=3"]
    with pytest.raises(MissingFile, match="no file memory://bucket/other"):
        images_of("memory://bucket/other")
    with pytest.raises(MissingFile, match=r"ending .jpg, .* in memory://bucket/set/n\*"):
        images_of("memory://bucket/set/n*")


def test_files_of_a_web_server(tmp_path, monkeypatch):
    answers, asked = {"/a.txt": (200, b"first", "1")}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.command)
            code, content, tag = answers.get(self.path.partition("?")[0], (404, b"", ""))
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            if tag:
                self.send_header("ETag", tag)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *given):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    try:
        assert files.read_text(f"{root}/a.txt?key=1") == files.read_text(f"{root}/a.txt?key=1") == "first"
        storage._known.clear()  # as in the next process
        assert files.read_text(f"{root}/a.txt?key=1") == "first" and asked == ["HEAD", "GET", "HEAD"]
        storage._known.clear()
        answers["/a.txt"] = 200, b"second", "2"
        assert files.read_text(f"{root}/a.txt?key=1") == "second"
        monkeypatch.setenv("KDET_REMOTE_TRIES", "2")
        for code, message in (
            (403, "cannot be read: the server answers 403"),
            (503, "in 2 tries: the .* 503"),
        ):
            answers["/b.txt"] = code, b"", ""
            with pytest.raises(DataError, match=message):
                files.read_text(f"{root}/b.txt")
        with pytest.raises(MissingFile, match=f"There is no file {root}/none.txt"):
            files.read_text(f"{root}/none.txt")
        with pytest.raises(WriteError, match="a web server is only read from"):
            check_target(f"{root}/a.txt", folder=False, what="file")
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return write_recipe(folder)


def test_weights_and_presets_of_a_model(recipe):
    model = Config.load(recipe).build("model")
    model.save_weights("memory://bucket/w.weights.h5")
    before = [weight.numpy() for weight in model.weights]
    for weight in model.trainable_weights:
        weight.assign(weight + 1.0)
    model.load_weights("memory://bucket/w.weights.h5")
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_run_in_a_bucket_goes_on_where_it_stopped(recipe):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise RuntimeError("the machine is gone")

    url = "flaky://bucket/runs/first"
    config = Config.load(recipe, {"train.epochs": 1, "train.evaluate_every": 0, "train.save_every": 2})
    Flaky.faults = 2
    with pytest.raises(RuntimeError, match="the machine is gone"):
        engine.train(config, url, "one", resume="auto", callbacks=[Stop()], verbose=0)
    system = fsspec.filesystem("flaky")
    assert [p.rpartition("/")[2] for p in system.ls(f"{url}/checkpoints", detail=False)] == [
        "step_00000002.weights.h5"
    ]
    with pytest.raises(ValueError, match=f"{url} already holds checkpoints"):
        engine.train(config, url, "one", verbose=0)
    model, history = engine.train(config, url, "one", resume="auto", verbose=0)
    assert int(model.optimizer.iterations) == 3 and len(history) == 1
    names = {p.rpartition("first/")[2] for p in system.find(url)}
    assert {"config.yaml", "log.jsonl", "final.weights.h5"} <= names
    assert "checkpoints/step_00000003.weights.h5" in names


def test_an_s3_server(s3, tmp_path, monkeypatch):
    failures = iter([True, False, True, False])
    send = type(s3).put_file

    def sometimes(self, *given, **keys):
        if next(failures, False):
            raise OSError("503 Slow Down")
        return send(self, *given, **keys)

    monkeypatch.setattr(type(s3), "put_file", sometimes)
    write_data(tmp_path / "set", [(48, 64)] * 2)
    for path in (tmp_path / "set").iterdir():
        with whole(f"s3://bucket/set/{path.name}") as part:
            part.write_bytes(path.read_bytes())
    spec = {"annotations": "s3://bucket/set/data.json", "images": "s3://bucket/set"}
    pipeline = kdet.data.load(spec, batch_size=2)
    assert sum(len(images) for _, images in enumerate(pipeline.images())) >= 2
    with pytest.raises(MissingFile, match="There is no file s3://bucket/none.json"):
        files.read_bytes("s3://bucket/none.json")
    monkeypatch.setenv("KDET_REMOTE_TRIES", "2")
    with pytest.raises(WriteError, match="s3://nowhere/a.txt"):
        with whole("s3://nowhere/a.txt") as part:
            part.write_text("x")
