"""The manifests for Kubernetes call commands that exist."""

import pathlib
import shlex

import yaml

from kdet.cli import parser

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "kubernetes"


def options_of(command):
    words = shlex.split(command)
    assert words[0] == "kdet"
    return parser().parse_args(words[1:])


def test_the_ray_job_asks_for_what_its_cluster_has():
    (job,) = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    options = options_of(job["spec"]["entrypoint"])
    assert options.resume and options.ray == "workers=4,gpus=1,cpus=8"
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (group["replicas"], limits["cpu"], limits["nvidia.com/gpu"]) == (4, "8", "1")


def test_the_train_job_calls_kdet():
    runtime, job = yaml.safe_load_all((FOLDER / "trainjob.yaml").read_text())
    (script,) = job["spec"]["trainer"]["args"]
    options = options_of(script.strip().splitlines()[-1].removeprefix("exec "))
    assert options.resume and options.strategy == "multiworker"
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["trainer"]["numNodes"] == runtime["spec"]["mlPolicy"]["numNodes"] == 4
