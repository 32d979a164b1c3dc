"""The loop of greedy suppression: the best box is taken again and again."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.typing import Tensor


def take_best(scores: Tensor, max_output: int, lower: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Takes the best box of every image until none is left or the output is full.

    Args:
        scores: ``[B,N]`` float32, N > 0; -inf is no candidate. Of equal ones the first is taken.
        lower: ``(scores [B,N], best [B]) -> scores`` once the boxes ``best`` were taken.

    Returns:
        ``(indices [B,max_output] int32, scores [B,max_output], num [B] int32)``; past ``num`` all are 0.
    """
    slots = tf.range(tf.shape(scores)[1])[None, :]

    def take(step: int, live: Tensor, indices: Tensor, kept: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
        best = tf.argmax(live, axis=1, output_type=tf.int32)
        score = tf.gather(live, best, batch_dims=1)
        live = tf.where(slots == best[:, None], float("-inf"), lower(live, best))
        at = tf.one_hot(step, max_output, on_value=True, off_value=False) & (score > float("-inf"))[:, None]
        indices = tf.where(at, best[:, None], indices)
        return step + 1, live, indices, tf.where(at, score[:, None], kept)

    def unfinished(step: int, live: Tensor, *_: Any) -> Tensor:
        return (step < max_output) & tf.reduce_any(live > float("-inf"))

    blank = tf.zeros([tf.shape(scores)[0], max_output])
    start = (0, scores, tf.cast(blank, tf.int32), tf.fill(tf.shape(blank), float("-inf")))
    _, _, indices, kept = tf.while_loop(unfinished, take, start)
    real = kept > float("-inf")
    return indices, tf.where(real, kept, 0.0), tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
