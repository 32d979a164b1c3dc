"""Where a training run happens: one device, all devices of this machine, or several machines."""

import json
import os

import tensorflow as tf

STRATEGIES = ("auto", "one", "mirrored", "multiworker")


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The distribution strategy; call it before anything else touches a device.

    Args:
        name: ``"one"`` device, ``"mirrored"`` over all accelerators (or logical CPUs) of this machine,
            ``"multiworker"`` over the processes that the environment variable ``TF_CONFIG`` lists, or
            ``"auto"``: multiworker if ``TF_CONFIG`` names several workers, else mirrored if there are
            several GPUs, else one.

    Raises:
        ValueError: unknown name, or ``"multiworker"`` without a usable ``TF_CONFIG``.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {name!r}.")
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
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy([d.name for d in tf.config.list_logical_devices(kind)])
    return tf.distribute.get_strategy()


def worker() -> tuple[int, int]:
    """``(index of this process, number of processes)`` by ``TF_CONFIG``; ``(0, 1)`` without it."""
    workers = _workers()
    if not workers:
        return 0, 1
    task = json.loads(os.environ["TF_CONFIG"]).get("task", {})
    chiefs = len(_cluster().get("chief", []))
    return (0 if task.get("type") == "chief" else chiefs + int(task.get("index", 0))), len(workers)


def _cluster() -> dict[str, list[str]]:
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return {}
    try:
        return json.loads(text).get("cluster", {})
    except ValueError as error:
        raise ValueError(f"The environment variable TF_CONFIG is not valid JSON: {error}.") from error


def _workers() -> list[str]:
    cluster = _cluster()
    return [*cluster.get("chief", []), *cluster.get("worker", [])]
