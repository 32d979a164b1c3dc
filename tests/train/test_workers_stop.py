"""Two workers, two processes: what tells one of them to stop ends both after the same step."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from kdet.train.checkpoints import Checkpoints
from tests.train.run_engine import write_data, write_recipe

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = "import sys; from kdet.cli import main; sys.exit(main(sys.argv[1:]))"


def start_workers(folder, *arguments):
    """The command in two processes that know of each other; what they say goes into ``<number>.log``."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    workers = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "1"}
        environment["TF_CONFIG"] = json.dumps(task)
        with open(folder / f"{index}.log", "w") as log:
            command = [sys.executable, "-c", COMMAND, *arguments]
            workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    return workers


def test_sigterm_to_one_worker_ends_both_after_the_same_step(tmp_path):
    write_data(tmp_path)
    run = tmp_path / "run"
    arguments = ["train", str(write_recipe(tmp_path)), "--work-dir", str(run), "--strategy", "multiworker"]
    changes = ["train.epochs=100000", "train.evaluate_every=0", "train.save_every=1000000"]
    workers = start_workers(tmp_path, *arguments, "--set", *changes)
    try:
        log, limit = run / "log.jsonl", time.monotonic() + 240
        while not (log.exists() and log.read_text().count("\n") >= 2):
            assert all(worker.poll() is None for worker in workers) and time.monotonic() < limit
            time.sleep(0.05)
        workers[1].send_signal(signal.SIGTERM)  # not the one that writes
        codes = [worker.wait(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    said = [(tmp_path / f"{index}.log").read_text() for index in range(2)]
    if codes != [75, 75]:
        pytest.fail(f"codes {codes}:\n" + "\n".join(text[-2000:] for text in said))
    sentence = r"^kdet train: SIGTERM ended the run at step (\d+); step_\d+.weights.h5 is written, go on with"
    steps = [re.findall(sentence, text, re.MULTILINE) for text in said]
    assert steps[0] == steps[1] and len(steps[0]) == 1
    assert Checkpoints(run / "checkpoints").steps()[-1] == int(steps[0][0])
    assert not any("Traceback" in text for text in said)
