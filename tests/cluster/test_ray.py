"""Prediction and training on a cluster of Ray that runs on this machine."""

import contextlib
import os
import pathlib
import signal
import threading
import time

import numpy as np
import pytest

from kdet.cluster import Workers, predict_dataset, predict_paths
from kdet.config import Config
from kdet.errors import KdetError
from verification.small import small_variant

ray = pytest.importorskip("ray", reason="Ray is an extra, and part of 'dev'")

IMAGES = pathlib.Path(__file__).parent.parent / "assets" / "data"


@pytest.fixture(scope="module")
def model():
    config = small_variant(Config.load("retinanet_r18_fpn_1x"), divide=8)
    config.override({"model.preprocessor.size": [96, 96], "model.bbox_head.postprocess.score_threshold": 0.0})
    return config.build("model")


def wanted(model, path):
    (result,) = model.predict_iter([str(path)])
    return result


def actor_killed_once():
    """Kills the first actor that appears; returns the thread, with the number of the process as ``pid``."""

    def kill():
        while not thread.pid:
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if b"ray::MapWorker" in (entry / "cmdline").read_bytes():
                        thread.pid = int(entry.name)
                        os.kill(thread.pid, signal.SIGKILL)
                        return
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.pid = 0
    thread.start()
    return thread


def test_every_row_comes_back_once_also_when_an_actor_dies(cluster, model, tmp_path):
    paths = [str(IMAGES / name) for name in ("a.jpg", "c.jpg")] * 20
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    paths[7] = str(broken)
    images = ray.data.from_items([{"id": i, "image": path} for i, path in enumerate(paths)])
    killer = actor_killed_once()
    found = predict_dataset(images, model, batch_size=4, min_score=0.0).take_all()
    killer.join(5)
    assert killer.pid and not killer.is_alive()
    assert sorted(row["id"] for row in found) == list(range(40))
    by_id = {row["id"]: row for row in found}
    assert "broken.jpg" in by_id[7]["error"] and not len(by_id[7]["boxes"])
    for i in (0, 1):
        result, row = wanted(model, paths[i]), by_id[i]
        assert row["error"] is None and (row["height"], row["width"]) == result.size
        assert len(row["boxes"]) == len(result.boxes) > 0
        best = slice(0, 50)  # the last of a hundred untrained scores may change places with the next
        np.testing.assert_allclose(np.stack([*row["boxes"]])[best], result.boxes[best], atol=1e-3)
        np.testing.assert_allclose(row["scores"], result.scores, atol=1e-5)


def test_bytes_and_pixels_are_images_too(cluster, model):
    encoded = (IMAGES / "a.jpg").read_bytes()
    result = wanted(model, IMAGES / "a.jpg")
    photos = ray.data.from_items([{"photo": encoded}])
    (row,) = predict_dataset(photos, model, image="photo", min_score=0.0).take_all()
    np.testing.assert_allclose(row["scores"], result.scores, atol=1e-5)
    folder = str(IMAGES / "a.jpg")
    (row,) = predict_dataset(ray.data.read_images(folder), model, min_score=0.0).take_all()
    assert "image" not in row and len(row["scores"]) == len(result.scores)
    with pytest.raises(KdetError, match="no column 'video'; it has photo"):
        predict_dataset(photos, model, image="video")


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_files_become_parquet(cluster, model, tmp_path, form):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    paths = [str(IMAGES / "a.jpg"), str(broken)]
    target = form.format(tmp_path / "found")
    assert predict_paths(paths, model, target, workers=Workers()) == (2, 1)
    rows = ray.data.read_parquet(str(tmp_path / "found")).take_all()
    assert sorted(row["image"] for row in rows) == sorted(paths)
    with pytest.raises(KdetError, match="is not empty"):
        predict_paths(paths, model, target, workers=Workers())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worker=2", "'worker' is unknown. .*workers"),
        ("workers=two", "workers must be a number, got 'two'"),
        ("workers=0", "workers is 0, out of range"),
        ("gpus=nan", "gpus is nan, out of range"),
    ],
)
def test_what_a_cluster_is_asked_for_is_checked(text, message):
    with pytest.raises(KdetError, match=message):
        Workers.parse(text)
    assert Workers.parse("workers=4,gpus=0.5") == Workers(4, 0.5)
    assert Workers.parse("") == Workers()
