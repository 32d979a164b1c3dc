"""Random numbers that XLA draws as TensorFlow's kernels do."""

import tensorflow as tf

from kdet.ops import dispatch
from kdet.typing import Shape, Tensor

_MANTISSA, _ONE = 0x7FFFFF, 127 << 23  # of float32; the exponent of 1
_PHILOX = 1  # TensorFlow's number of the generator
_SCRAMBLER = 0x02461E29_3EC8F720  # the key under which TensorFlow scrambles seeds


def uniform(shape: Shape | Tensor, seed: Tensor) -> Tensor:
    """``tf.random.stateless_uniform``, whose numbers under XLA are those without it.

    Of the same bits TensorFlow's kernel takes the low ones for the mantissa, XLA the high ones.

    Args:
        shape: of the result.
        seed: int32 ``[2]``.

    Returns:
        float32 in [0, 1).
    """
    if not dispatch.under_xla():
        return tf.random.stateless_uniform(shape, seed)
    return tf.bitcast(_bits(shape, seed) & _MANTISSA | _ONE, tf.float32) - 1.0


def fold_in(seed: Tensor, number: int | Tensor) -> Tensor:
    """``tf.random.experimental.stateless_fold_in``, whose seeds under XLA are those without it.

    Args:
        seed: int32 ``[2]``.
        number: int or int32 scalar; another one gives another seed.

    Returns:
        int32 ``[2]``.
    """
    number = tf.convert_to_tensor(number, tf.int32)
    if not dispatch.under_xla():
        return tf.random.experimental.stateless_fold_in(seed, number)
    return tf.stack([_bits([], seed), number])


def _bits(shape: Shape | Tensor, seed: Tensor) -> Tensor:
    """Random int32 of all values; a negative seed XLA by itself would read in another way."""

    def draw(shape: Shape | Tensor, key: Tensor, counter: Tensor, dtype: tf.DType) -> Tensor:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=tf.cast(shape, tf.int32), key=key, counter=counter, alg=_PHILOX, dtype=dtype
        )

    seed = tf.bitcast(tf.cast(seed, tf.int64), tf.uint64)
    words = draw([4], tf.constant([_SCRAMBLER], tf.uint64), seed, tf.uint32)
    low, high = tf.unstack(tf.reshape(tf.cast(words, tf.uint64), [2, 2]), axis=1)
    high = tf.bitwise.left_shift(high, tf.constant(32, tf.uint64))
    key, counter = tf.unstack(low | high)  # the two halves of the scrambled seed
    return draw(shape, key[None], tf.stack([tf.zeros_like(counter), counter]), tf.int32)
