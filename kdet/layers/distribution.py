"""What a layer needs to know about data parallelism."""

import tensorflow as tf

from kdet import ops
from kdet.typing import Tensor


def num_replicas() -> int:
    """Number of replicas that run this step together (a Python int)."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_mean(value: Tensor) -> Tensor:
    """Mean of a scalar over the replicas.

    Normalizers of losses go through here: with every replica dividing by the same number, the sum of
    the replicas' gradients (each divided by the number of replicas) is that of one device on the
    whole batch.
    """
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def replica_sum(value: Tensor) -> Tensor:
    """Sum of a tensor over the replicas."""
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def global_uniform(seed: Tensor, batch: int, columns: int) -> Tensor:
    """Random numbers of this replica's images, the same however the batch is split.

    Args:
        seed: int32 ``[2]``.
        batch: images on this replica.
        columns: numbers per image.

    Returns:
        float32 ``[batch, columns]`` in [0, 1).
    """
    context = tf.distribute.get_replica_context()
    replicas = 1 if context is None else context.num_replicas_in_sync
    numbers = ops.uniform([replicas * batch, columns], seed)
    if replicas == 1:
        return numbers
    start = tf.cast(context.replica_id_in_sync_group, tf.int32) * batch
    return numbers[start : start + batch]
