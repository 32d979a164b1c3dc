"""The commands with URLs for images, results, recipes and weights."""

import json

import fsspec
import numpy as np
import pytest
import tensorflow as tf

import kdet
from kdet import cli, storage
from kdet.cli import predict as predict_command
from kdet.config import Config
from kdet.errors import ConfigError
from tests import remote
from tests.remote import Flaky, get, put
from tests.train.run_engine import write_data, write_recipe

clean_stores, s3 = remote.clean_stores, remote.s3


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return write_recipe(folder)


def put_images(url, count):
    for i in range(count):
        image = np.full([40, 60, 3], 20 * i, np.uint8)
        put(f"{url}/{i}.png", tf.io.encode_png(image).numpy())
    return [f"{url}/{i}.png" for i in range(count)]


def lines(url):
    return [json.loads(line) for line in get(url).decode().splitlines()]


def predict(recipe, *given):
    return cli.main(["predict", str(recipe), "--weights", "none", "--min-score", "0", *given])


def test_predict_from_a_bucket_into_a_bucket(recipe, s3, capsys):
    urls = put_images("s3://bucket/lake", 2)
    put("s3://bucket/lake/notes.txt", b"no image")
    assert predict(recipe, "s3://bucket/lake", "--out", "s3://bucket/found") == 0
    entries = lines("s3://bucket/found/detections.jsonl")
    assert [entry["image"] for entry in entries] == urls
    assert json.loads(get("s3://bucket/found/detections.json")) == entries
    assert f"{urls[0]}: " in capsys.readouterr().out
    names = ["0.png", "1.png", "detections.json", "detections.jsonl"]
    assert (
        sorted(one.rpartition("/")[2] for one in s3.ls("bucket/found", refresh=True, detail=False)) == names
    )
    assert tf.io.decode_image(get("s3://bucket/found/1.png")).shape == (40, 60, 3)
    assert predict(recipe, urls[0], "--out", "s3://nowhere/found", "--no-draw") == 2
    assert "s3://nowhere/found" in capsys.readouterr().err


def test_a_run_behind_a_url_goes_on_where_it_stopped(recipe, monkeypatch, capsys):
    urls = put_images("flaky://bucket/lake", 4)
    out, part = "flaky://bucket/found", "flaky://bucket/found/detections.part.jsonl"
    monkeypatch.setattr(predict_command, "PAUSE", 0.0)  # seconds between two sendings
    describe, described = predict_command.describe, []

    def stops(result):
        if len(described) == 2:
            raise KeyboardInterrupt
        described.append(result.source)
        return describe(result)

    monkeypatch.setattr(predict_command, "describe", stops)
    Flaky.faults = 2
    given = ["flaky://bucket/lake/*.png", "--out", out, "--no-draw"]
    assert predict(recipe, *given) == 130
    assert described == urls[:2] and [entry["image"] for entry in lines(part)] == urls[:2]
    monkeypatch.setattr(predict_command, "describe", describe)
    assert predict(recipe, *given) == 2
    assert (
        f"{out} holds a run that was stopped: go on with --resume, or delete {part}"
        in capsys.readouterr().err
    )
    first = lines(part)
    put(part, get(part) + b'{"image": "cut o')
    put(urls[2], b"no image")
    storage._known.clear()  # as in the next process
    assert predict(recipe, *given, "--resume") == 2
    assert f"1 of 4 images could not be read; {out}/detections.jsonl says why" in capsys.readouterr().err
    entries = lines(f"{out}/detections.jsonl")
    assert [entry["image"] for entry in entries] == urls and entries[:2] == first
    assert urls[2] in entries[2]["error"]
    assert not fsspec.filesystem("flaky").exists(part)


def test_lines_are_sent_while_the_run_goes_on(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(predict_command.time, "monotonic", lambda: now[0])
    url, part = "memory://bucket/found", "memory://bucket/found/detections.part.jsonl"
    with predict_command.mirrored(url) as mirror:
        with predict_command.Lines(mirror.folder / predict_command.PART, mirror) as file:
            file.write({"image": "a"})
            assert not fsspec.filesystem("memory").exists(part)
            now[0] = predict_command.PAUSE
            file.write({"image": "b"})
            file.write({"image": "c"})
            assert [entry["image"] for entry in lines(part)] == ["a", "b"]
    assert [entry["image"] for entry in lines(part)] == ["a", "b", "c"]


def test_recipes_and_their_bases_behind_urls(recipe):
    put("memory://bucket/base/tiny.yaml", recipe.read_bytes())
    put("memory://bucket/mine/a.yaml", b"_base_: ../base/tiny.yaml\ntrain: {epochs: 7}\n")
    config = Config.load("memory://bucket/mine/a.yaml")
    wanted = Config.load(recipe, {"train.epochs": 7})
    assert dict(config) == dict(wanted)
    assert (config.path, config.name) == ("memory://bucket/mine/a.yaml", "a")
    assert config.origin(("train", "epochs")) == "memory://bucket/mine/a.yaml"
    assert config.origin(("train", "clip")) == "memory://bucket/base/tiny.yaml"
    put("memory://bucket/b.yaml", b"_base_: [memory://bucket/mine/a.yaml, retinanet_r50_fpn_1x]")
    assert Config.load("memory://bucket/b.yaml", check=False)["train"]["clip"] == config["train"]["clip"]
    put("memory://bucket/c.yaml", b"_base_: none.yaml")
    put("memory://bucket/d.yaml", b"_base_: d.yaml")
    put("memory://bucket/e.yaml", b"imports: [mine.py]")
    put("memory://bucket/f.yaml", b"train: {epoch: 3}")
    for name, message in {
        "c": "There is no file memory://bucket/none.yaml",
        "d": "memory://bucket/d.yaml: _base_ leads back to this file",
        "e": "memory://bucket/e.yaml: imports: mine.py behind a URL is not run",
        "f": "memory://bucket/f.yaml: train.epoch.*Did you mean 'epochs'",
        "g": "There is no file memory://bucket/g.yaml",
    }.items():
        with pytest.raises(ConfigError, match=message):
            Config.load(f"memory://bucket/{name}.yaml")
    config.save("memory://bucket/saved.yaml")
    assert dict(Config.load("memory://bucket/saved.yaml")) == dict(config)


def test_a_recipe_of_a_bucket_is_trained_and_its_run_predicts(recipe, s3):
    put("s3://bucket/tiny.yaml", recipe.read_bytes())
    options = ["--work-dir", "s3://bucket/run", "--set", "train.epochs=1", "train.evaluate_every=0"]
    assert cli.main(["train", "s3://bucket/tiny.yaml", *options]) == 0
    urls = put_images("s3://bucket/lake", 1)
    given = ["s3://bucket/lake", "--no-draw", "--out"]
    assert cli.main(["predict", "s3://bucket/run", *given, "s3://bucket/one"]) == 0
    weights = ["--weights", "s3://bucket/run/final.weights.h5"]
    assert cli.main(["predict", "s3://bucket/tiny.yaml", *weights, *given, "s3://bucket/two"]) == 0
    one, two = (lines(f"s3://bucket/{name}/detections.jsonl") for name in ("one", "two"))
    assert one == two and one[0]["image"] == urls[0]


def test_presets_and_weights_behind_urls(recipe, capsys):
    weights = "memory://bucket/w.weights.h5"
    model = Config.load(recipe).build("model")
    model.save_weights(weights)
    given = [str(recipe), "--weights", weights, "--format", "preset", "--out", "memory://bucket/preset"]
    assert cli.main(["export", *given]) == 0
    assert capsys.readouterr().out == "memory://bucket/preset\n"
    assert model.save_to_preset("memory://bucket/other") == "memory://bucket/other"
    loaded = [kdet.zoo.load("memory://bucket/preset"), kdet.zoo.load("memory://bucket/other")]
    loaded.append(kdet.zoo.load(recipe, weights))
    for other in loaded:
        for ours, theirs in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    with pytest.raises(kdet.presets.PresetError, match="memory://bucket is no recipe"):
        kdet.zoo.load("memory://bucket")
    assert cli.main(["export", str(recipe), "--weights", "memory://bucket/no.h5", "--out", "x"]) == 2
    assert "There is no file memory://bucket/no.h5" in capsys.readouterr().err
