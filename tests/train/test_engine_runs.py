"""Whole runs of the engine, each in a process of its own: replicas, workers, resuming after a kill."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from kdet.config import Config
from tests.train.run_engine import write_data, write_recipe

SCRIPT = pathlib.Path(__file__).with_name("run_engine.py")
ROOT = SCRIPT.parents[2]


def start(out, strategy, kill_after=0, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "1", **environment}
    command = [sys.executable, str(SCRIPT), str(out), strategy, str(kill_after)]
    with open(f"{out}.{environment.get('RANK', '0')}.log", "w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def start_workers(out, kill_after=(0, 0)):
    """Two processes that train together, the second after so many steps killed."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    config = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    return [start(out, "multiworker", kill_after[i], TF_CONFIG=config[i], RANK=str(i)) for i in range(2)]


def finish(process, folder):
    code = process.wait(timeout=300)
    if code > 0:
        logs = "\n".join(f"{p.name}:\n{p.read_text()[-3000:]}" for p in folder.glob("*.log"))
        pytest.fail(f"{process.args} ended with {code}:\n{logs}")
    return code


def write_scene(folder, recipe):
    """What ``run_engine.score`` wants: weights, and images of several sizes, once with a broken one."""
    keras.utils.set_random_seed(5)
    Config.load(recipe).build("model").save_weights(folder / "fixed.weights.h5")
    sizes = [(64, 64), (60, 80), (80, 60), (64, 72), (60, 80), (80, 60), (60, 80)]
    write_data(folder, sizes, "odd")
    content = json.loads((folder / "odd.json").read_text())
    content["images"][-1]["file_name"] = "broken.png"
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs side by side: they share nothing but the data."""
    folder = tmp_path_factory.mktemp("runs")
    write_data(folder / "data")
    write_scene(folder / "data", write_recipe(folder / "data"))
    processes = {"one": start(folder / "one", "one"), "mirrored": start(folder / "mirrored", "mirrored")}
    lost = start_workers(folder / "lost", kill_after=[0, 5])
    killed = start(folder / "killed", "one", kill_after=5)
    assert finish(killed, folder) == -9
    checkpoints = sorted(p.name for p in (folder / "killed/checkpoints").iterdir())
    losses = json.loads((folder / "killed.0.json").read_text())
    shutil.copytree(folder / "killed", folder / "workers")  # where one device stopped, two workers go on
    processes["resumed"] = start(folder / "killed", "one")
    try:
        codes = [lost[1].wait(timeout=300), lost[0].wait(timeout=300)]
        processes.update(zip(["worker0", "worker1"], start_workers(folder / "workers")))
        for process in processes.values():
            assert finish(process, folder) == 0
    finally:
        for process in (*processes.values(), *lost):
            process.kill()
    return {"folder": folder, "checkpoints": checkpoints, "before the kill": losses, "lost": codes}


def losses(runs, name):
    return json.loads((runs["folder"] / f"{name}.json").read_text())


def weights(path):
    """All arrays of a weights file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda n, v: found.update({n: v[()]}) if isinstance(v, h5py.Dataset) else None)
    return found


def scores(runs, folder):
    """The scores of the last epoch."""
    line = (runs["folder"] / folder / "log.jsonl").read_text().splitlines()[-1]
    return {k: v for k, v in json.loads(line).items() if k.startswith("val/")}


def assert_equal_runs(runs, name, folder, before=()):
    steps, reference = [*before, *losses(runs, name)], losses(runs, "one.0")
    assert len(steps) == len(reference) == 6
    for step, want in zip(steps, reference):
        assert set(step) == set(want) and len(want) == 5
        for key in want:
            assert step[key] == pytest.approx(want[key], rel=1e-5, abs=1e-6), key
    ours = weights(runs["folder"] / folder / "final.weights.h5")
    theirs = weights(runs["folder"] / "one" / "final.weights.h5")
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert "val/bbox/AP" in scores(runs, "one")
    assert scores(runs, folder) == pytest.approx(scores(runs, "one"), abs=1e-3, nan_ok=True)


def test_the_weights_move(runs):
    first = losses(runs, "one.0")[0]["loss"]
    assert losses(runs, "one.0")[-1]["loss"] < first
    arrays = weights(runs["folder"] / "one" / "final.weights.h5")
    statistics = [v for k, v in arrays.items() if "backbone" in k and v.ndim == 1]
    assert any(np.abs(v).max() > 0 and not np.allclose(v, 1) for v in statistics)


def test_two_replicas_equal_one_device(runs):
    assert_equal_runs(runs, "mirrored.0", "mirrored")


def test_two_workers_equal_one_device_and_go_on_where_it_stopped(runs):
    assert len(losses(runs, "lost.1")) == 5 and len(losses(runs, "workers.0")) == 2
    assert_equal_runs(runs, "workers.0", "workers", before=losses(runs, "lost.1")[:4])
    assert losses(runs, "workers.1") == losses(runs, "workers.0")
    assert losses(runs, "lost.0")[:5] == losses(runs, "lost.1")


def test_the_loss_of_a_worker_is_one_sentence_and_the_code_to_start_again(runs):
    assert runs["lost"] == [-9, 75]
    said = (runs["folder"] / "lost.0.log").read_text()
    assert said.count("Another worker of this run ended or cannot be reached") == 1
    assert "Traceback" not in said
    # one process writes them, and they are those of one device
    assert not list((runs["folder"] / "lost").glob("worker_1/**/*.h5"))
    ours = weights(runs["folder"] / "lost/checkpoints/step_00000004.weights.h5")
    theirs = weights(runs["folder"] / "one/checkpoints/step_00000004.weights.h5")
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["mirrored.0", "workers.0", "workers.1"])
def test_replicas_and_workers_share_an_evaluation_and_score_as_one_device(runs, name):
    ours, reference = losses(runs, f"{name}.figures"), losses(runs, "one.0.figures")
    assert reference.pop("error").startswith("Image broken.png of")
    error = ours.pop("error")
    assert error.startswith("Worker 1 failed: " if name == "workers.0" else "Image ")
    assert "Image broken.png of" in error
    assert set(ours) == set(reference) == {"own", "fixed", "views", "skipped"}
    for case, wanted in reference.items():
        assert wanted["bbox/AR"] > 0
        assert ours[case] == pytest.approx(wanted, abs=1e-9, rel=0, nan_ok=True), case
    assert reference["own"] != reference["views"]


def test_resuming_after_a_kill_is_exact(runs):
    assert runs["checkpoints"] == ["step_00000003.weights.h5", "step_00000004.weights.h5"]
    resumed, reference = losses(runs, "killed.0"), losses(runs, "one.0")
    assert runs["before the kill"] == reference[:5]
    assert resumed == reference[4:]
    ours = weights(runs["folder"] / "killed" / "final.weights.h5")
    for key, value in weights(runs["folder"] / "one" / "final.weights.h5").items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


def test_a_run_leaves_what_it_promises(runs):
    one = runs["folder"] / "one"
    lines = [json.loads(line) for line in (one / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and lines[-1]["step"] == 6
    per_step = [step["loss"] for step in losses(runs, "one.0")]
    assert lines[0]["loss"] == pytest.approx(np.mean(per_step[:3]), rel=1e-6)
    assert (one / "config.yaml").exists() and list((one / "tensorboard").iterdir())
