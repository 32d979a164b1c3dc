"""Where a training run happens: one device, all devices of this machine, or several machines."""

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kdet.errors import first_line, short
from kdet.train.slurm import tell_of_workers

STRATEGIES = ("auto", "one", "mirrored", "multiworker", "tpu")


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The distribution strategy; call it before anything else touches a device.

    Args:
        name: ``"one"`` device, ``"mirrored"`` over all accelerators (or logical CPUs) of this machine,
            ``"multiworker"`` over the processes that the environment variable ``TF_CONFIG`` lists or that
            SLURM started with this one, ``"tpu"`` over the cores of this machine's TPU or of the one that
            ``TPU_NAME`` names, or ``"auto"``: multiworker where there are several workers, else mirrored if
            there are several GPUs, else one.

    Raises:
        ValueError: unknown name, ``"multiworker"`` without a usable ``TF_CONFIG``, or ``"tpu"`` without a
            TPU.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {name!r}.")
    if name in ("auto", "multiworker"):
        tell_of_workers()
    workers = _workers()
    if name == "auto":
        if len(workers) > 1:
            name = "multiworker"
        else:
            name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if name == "multiworker":
        if not workers:
            raise ValueError(
                "strategy 'multiworker' needs the environment variable TF_CONFIG, for example "
                '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}.'
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy([d.name for d in tf.config.list_logical_devices(kind)])
    return tf.distribute.get_strategy()


def _tpu_strategy() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME", "")
    if not name and not tf.config.list_physical_devices("TPU"):
        raise ValueError(
            "strategy 'tpu' finds no TPU: TensorFlow sees none here, and the environment variable TPU_NAME "
            "names none. On a TPU machine install TensorFlow for TPUs (pip install tensorflow-tpu), or train "
            "with --strategy auto."
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name or "local")
    except (ImportError, OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"strategy 'tpu' cannot use the TPU {name or 'local'!r} (TPU_NAME): {reason}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def require_static(spec: tuple[Mapping[str, tf.TensorSpec], ...]) -> None:
    """Refuse batches that a TPU cannot take.

    Args:
        spec: of the batches, ``(inputs, targets)`` with a ``tf.TensorSpec`` under every key.

    Raises:
        ValueError: shapes differ from batch to batch; a TPU's program is made for one.
    """
    for name, one in (item for part in spec for item in part.items()):
        if not one.shape.is_fully_defined():
            raise ValueError(
                f"strategy 'tpu' trains on one shape, but {name} come as {one.shape} (None: differs from "
                "batch to batch). Give one canvas for all images, data.train.buckets: [[height, width]], and "
                "one number of objects, data.train.max_boxes."
            )


def worker() -> tuple[int, int]:
    """``(index of this process, number of processes)`` by ``TF_CONFIG``; ``(0, 1)`` without it."""
    workers = _workers()
    if not workers:
        return 0, 1
    task = _config().get("task") or {}
    index = task.get("index", 0) if isinstance(task, dict) else None
    before = 0 if index is None or task.get("type") == "chief" else len(_cluster().get("chief", []))
    place = before + index if type(index) is int and index >= 0 else -1
    if not 0 <= place < len(workers):
        raise ValueError(
            f"The environment variable TF_CONFIG has the task {short(task)}, which is none of its "
            f"{len(workers)} workers: type is 'chief' or 'worker', index counts from 0."
        )
    return place, len(workers)


def _config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"The environment variable TF_CONFIG is not valid JSON: {first_line(error)}."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"The environment variable TF_CONFIG must be a mapping; got {short(found)}.")
    return found


def _cluster() -> dict[str, list[str]]:
    cluster = _config().get("cluster") or {}
    if not isinstance(cluster, dict) or not all(_are_addresses(jobs) for jobs in cluster.values()):
        raise ValueError(
            f"The cluster of the environment variable TF_CONFIG must list addresses; got {short(cluster)}."
        )
    return cluster


def _are_addresses(jobs: Any) -> bool:
    return isinstance(jobs, list) and all(isinstance(job, str) for job in jobs)


def _workers() -> list[str]:
    cluster = _cluster()
    return [*cluster.get("chief", []), *cluster.get("worker", [])]
