"""A training run on the workers of a Ray cluster: the same ``train``, started and restarted by Ray Train."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from kdet import storage
from kdet.cluster.ray_start import Workers, library, started
from kdet.config import Config
from kdet.errors import KdetError, Stopped, first_line
from kdet.train.checkpoints import Checkpoints
from kdet.typing import PathLike

RECIPE = "ray.yaml"
LOOK = 1.0  # seconds between looks at what the chief has logged


def train_on_ray(config: Config, work_dir: PathLike, workers: Workers, resume: bool = False) -> None:
    """Train a recipe on a Ray cluster, every worker a process of ``MultiWorkerMirroredStrategy``.

    Ray finds the machines and tells the workers of each other; kdet trains. When a worker is lost, Ray starts
    all of them again, ``workers.retries`` times, and they go on from the newest checkpoint. What the chief
    logs of each epoch is printed here.

    Args:
        config: the recipe, as for :func:`kdet.train.engine.train`.
        work_dir: folder of the run, on storage that all machines share. The data, too, must be where the
            recipe says on every machine; paths that are not absolute start at the present folder.
        workers: how many workers, and what each takes of the cluster.
        resume: go on with a run that is there.

    Raises:
        KdetError: Ray is not installed, the cluster has not what is asked for, or the run failed more often
            than ``workers.retries``; with the workers' own error.

    Example:
        >>> config = Config.load("rtmdet_s_300e")
        >>> kdet.cluster.train_on_ray(config, "/shared/runs/first", Workers(workers=4, gpus=1))
    """
    ray = library()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    if storage.is_url(work_dir):
        raise KdetError(f"With Ray the work directory is a folder that all workers see; {work_dir} is a URL.")
    folder = pathlib.Path(work_dir).absolute()
    if Checkpoints(folder / "checkpoints").steps() and not resume:
        raise KdetError(f"{folder} already holds checkpoints of a run: resume it, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / RECIPE
    recipe.write_text(config.to_yaml(), encoding="utf-8")
    settings = {"recipe": str(recipe), "work_dir": str(folder), "start": os.getcwd()}
    with started(), followed(folder / "log.jsonl"):
        _require(ray.cluster_resources(), workers)
        trainer = TensorflowTrainer(
            _work,
            train_loop_config=settings,
            scaling_config=ScalingConfig(
                num_workers=workers.workers,
                use_gpu=workers.gpus > 0,
                resources_per_worker={"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {}),
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=workers.retries),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray wraps what a worker raised in several classes of its own
            raise KdetError(f"The run in {folder} failed on the cluster: {first_line(error)}") from error


def _require(resources: dict[str, float], workers: Workers) -> None:
    """Raise where the cluster has too few CPUs or GPUs in all: Ray would wait for them for ever."""
    for kind, each in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        wanted, there = each * workers.workers, resources.get(kind, 0.0)
        if wanted > there:
            raise KdetError(
                f"{workers.workers} workers of {each:g} {kind}s need {wanted:g}; the cluster has {there:g}."
            )


@contextlib.contextmanager
def followed(log: pathlib.Path) -> Iterator[None]:
    """Prints every line that is added to a ``log.jsonl`` meanwhile."""
    ended = threading.Event()

    def follow() -> None:
        place = log.stat().st_size if log.exists() else 0
        while True:
            last = ended.wait(LOOK)  # what was written up to here is printed in any case
            if log.exists():
                with open(log, encoding="utf-8") as file:
                    file.seek(place)
                    text = file.read()
                whole = text[: text.rfind("\n") + 1]
                place += len(whole.encode("utf-8"))
                print(whole, end="", flush=True)
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _work(settings: dict[str, Any]) -> None:
    """What every worker does, once Ray has told it of the others."""
    from kdet.train.engine import train

    if os.path.isdir(settings["start"]):
        os.chdir(settings["start"])
    folder = pathlib.Path(settings["work_dir"])
    try:  # Ray has written TF_CONFIG; after the loss of a worker there are checkpoints
        train(Config.load(settings["recipe"]), folder, strategy="auto", resume="auto", verbose=2)
    except Stopped as error:  # which is no Exception, and Ray starts anew after those
        raise RuntimeError(str(error)) from error
