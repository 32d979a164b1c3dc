"""What SLURM tells its tasks becomes what TensorFlow's workers must know."""

import json
import os

import pytest

from kdet.errors import KdetError
from kdet.train.slurm import tell_of_workers


@pytest.fixture
def job(monkeypatch):
    """Sets the variables of a task of ``srun`` on two nodes with two tasks each."""
    for name in ("TF_CONFIG", "CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)

    def task(number=0, **others):
        variables = {
            "SLURM_STEP_NUM_TASKS": "4",
            "SLURM_STEP_NODELIST": "gpu[07-08]",
            "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
            "SLURM_PROCID": str(number),
            **others,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        tell_of_workers()
        return json.loads(os.environ.get("TF_CONFIG", "{}"))

    return task


def test_tasks_are_workers(job):
    assert job(2) == {
        "cluster": {"worker": ["gpu07:8888", "gpu07:8889", "gpu08:8888", "gpu08:8889"]},
        "task": {"type": "worker", "index": 2},
    }
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_gpus_of_a_node_are_dealt_out(job):
    assert job(3, SLURM_GPUS_ON_NODE="4")["task"]["index"] == 3
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_gpus_that_slurm_has_bound_stay(job):
    job(3, SLURM_GPUS_ON_NODE="2", CUDA_VISIBLE_DEVICES="0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_task_alone_or_with_tf_config_is_left_as_it_is(job):
    assert job(SLURM_STEP_NUM_TASKS="1") == {}
    assert job(TF_CONFIG="[1]") == [1]


def test_variables_that_do_not_fit_are_said(job):
    with pytest.raises(KdetError, match="which workers there are: .*4 tasks but only 2"):
        job(SLURM_STEP_TASKS_PER_NODE="1(x2)")
    with pytest.raises(KdetError, match="which workers there are"):
        job(SLURM_GPUS_ON_NODE="1")  # two tasks on a node share no GPU
