"""Batch normalization in training (Ioffe & Szegedy, 2015)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_shapes
from kdet.ops.empty import is_empty
from kdet.typing import Tensor


class BatchNormOutput(NamedTuple):
    """What `batch_norm` returns.

    Attributes:
        y: the normalized map.
        mean, variance: float32 ``[C]``, the variance unbiased; 0 where nothing counts. No gradient flows
            through them.
        count: float32 scalar, the values that a channel's statistics are made of, in all replicas.
    """

    y: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    count: tf.Tensor


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float = 1e-5,
    counted: Tensor | None = None,
    total: Tensor | None = None,
    implementation: str | None = None,
) -> BatchNormOutput:
    """Normalizes every channel with the statistics of the batch.

    The compiled form sums in float64; TensorFlow's fused norm, the portable form, adds up a channel value
    by value in float32 on a CPU. Over 2048 pixels its output is off by 1e-5.

    Args:
        x: ``[B,...,C]``, any rank from 2 on; float32, float16 or bfloat16.
        gamma, beta: float32 ``[C]``.
        epsilon: added to the (biased) variance.
        counted: ``[B]``, above 0 for the rows of the batch that enter the statistics; default all. The
            others are normalized like them.
        total: adds a tensor up over replicas, for statistics of the global batch. That takes the portable
            form.

    Returns:
        `BatchNormOutput`.

    Raises:
        ValueError: a channel has a single value (where that shows in the shape): its output would be beta
            whatever the input is.
    """
    x, gamma, beta = (tf.convert_to_tensor(tensor) for tensor in (x, gamma, beta))
    if counted is None and total is None and x.shape[:-1].num_elements() == 1:
        raise ValueError(
            f"batch_norm in training needs more than one value per channel, x has shape {tuple(x.shape)}: "
            "train on more than one image, or with running statistics."
        )
    check_shapes("batch_norm", {"C": x.shape[-1]}, gamma=(gamma, "C"), beta=(beta, "C"))
    counted = None if counted is None else tf.cast(tf.convert_to_tensor(counted) > 0, tf.float32)
    own = None if total else _compiled
    form = dispatch.choose("batch_norm", implementation, portable=_portable, compiled_form=own, dtype=x.dtype)
    return form(x, gamma, beta, epsilon, counted, total)


def _cells(x: Tensor) -> Tensor:
    """Values per channel and row of the batch, float32."""
    known = x.shape[1:-1].num_elements()
    return tf.cast(tf.reduce_prod(tf.shape(x)[1:-1]) if known is None else known, tf.float32)


def _count(x: Tensor, counted: Tensor | None) -> Tensor:
    rows = tf.cast(tf.shape(x)[0], tf.float32) if counted is None else tf.reduce_sum(counted)
    return rows * _cells(x)


def _compiled(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, counted: Tensor | None, total: Tensor | None
) -> BatchNormOutput:
    y, mean, variance, _ = compiled.library().kdet_batch_norm(
        x=x, gamma=gamma, beta=beta, counted=tf.zeros([0]) if counted is None else counted, epsilon=epsilon
    )
    return BatchNormOutput(y, mean, variance, _count(x, counted))


@tf.RegisterGradient("KdetBatchNorm")
def _compiled_gradient(op: tf.Operation, upstream: Tensor, *_: Any) -> Sequence[Tensor | None]:
    x, gamma, _, counted = op.inputs
    _, mean, _, inverse = op.outputs
    gradients = compiled.library().kdet_batch_norm_grad(
        upstream=upstream, x=x, gamma=gamma, counted=counted, mean=mean, inverse=inverse
    )
    return [*gradients, None]


def _portable(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, counted: Tensor | None, total: Tensor | None
) -> BatchNormOutput:
    # of nothing XLA's fused norm has gradients that are NaN
    if counted is not None or total is not None or is_empty(x):
        return _weighted(x, gamma, beta, epsilon, counted, total or (lambda value: value))
    maps = x if x.shape.rank == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
    empty, count = tf.zeros([0]), _count(x, None)
    out = tf.raw_ops.FusedBatchNormV3(
        x=maps, scale=gamma, offset=beta, mean=empty, variance=empty, epsilon=epsilon, is_training=True
    )
    # the fused kernel's batch_variance is the unbiased one already; of an empty batch it is NaN
    seen = tf.cast(count > 0.0, tf.float32)
    mean, variance = (tf.math.multiply_no_nan(v, seen) for v in (out.batch_mean, out.batch_variance))
    return BatchNormOutput(tf.reshape(out.y, tf.shape(x)), mean, variance, count)


def _weighted(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float,
    counted: Tensor | None,
    total: Callable[[Tensor], Tensor],
) -> BatchNormOutput:
    """Statistics over all replicas, of the rows that count."""
    y = tf.cast(x, tf.float32)
    axes = list(range(x.shape.rank - 1))
    rows = tf.ones([tf.shape(x)[0]]) if counted is None else counted
    weight = tf.reshape(rows, [-1] + [1] * len(axes))
    sums = total(tf.concat([tf.reduce_sum(y * weight, axes), [_count(x, rows)]], 0))
    values = sums[-1]
    mean = sums[:-1] / tf.maximum(values, 1.0)
    squares = tf.reduce_sum(tf.math.squared_difference(y, mean) * weight, axes)
    variance = total(squares) / tf.maximum(values, 1.0)
    y = tf.nn.batch_normalization(y, mean, variance, beta, gamma, epsilon)
    unbiased = variance * values / tf.maximum(values - 1.0, 1.0)
    return BatchNormOutput(tf.cast(y, x.dtype), *map(tf.stop_gradient, (mean, unbiased, values)))
