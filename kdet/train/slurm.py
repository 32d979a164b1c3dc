"""The workers of a SLURM job step, from what ``srun`` tells each of its tasks."""

import json
import os

import tensorflow as tf

from kdet.errors import KdetError, first_line

TASKS, GPUS, VISIBLE = "SLURM_STEP_NUM_TASKS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"
NO_GPUS = 1024  # more than a node has tasks: the resolver deals out GPUs to number the tasks of a node


def tell_of_workers() -> None:
    """Write ``TF_CONFIG`` where there is none and this process is one of several tasks of ``srun``.

    Tasks of one node take ports from 8888 on. GPUs that SLURM has not bound to a task are dealt out to the
    tasks of the node in equal parts.

    Raises:
        KdetError: the variables of SLURM do not say which workers there are.
    """
    tasks = os.environ.get(TASKS, "")
    if os.environ.get("TF_CONFIG") or not tasks.isdecimal() or int(tasks) < 2:
        return
    before = os.environ.get(VISIBLE)
    gpus = int(os.environ[GPUS]) if os.environ.get(GPUS, "").isdecimal() else 0
    try:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=gpus or NO_GPUS, gpus_per_task=None if gpus else 1, auto_set_gpu=gpus > 0
        )
        cluster = resolver.cluster_spec().as_dict()
        kind, index = resolver.get_task_info()
    except (ValueError, RuntimeError) as error:
        raise KdetError(
            f"SLURM's variables do not say which workers there are: {first_line(error)}. Start them with "
            "srun, at most as many on a node as it has GPUs, or set TF_CONFIG."
        ) from error
    if before is not None and len(before.split(",")) < gpus:  # bound by SLURM, which numbers them anew
        os.environ[VISIBLE] = before
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
