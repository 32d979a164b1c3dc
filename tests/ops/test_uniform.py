import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("seed", [[7, 11], [-7, 11], [0, -1]])
def test_xla_draws_the_same_numbers(seed):
    def draw(seed):
        return ops.uniform([3, 50], seed), ops.fold_in(ops.fold_in(seed, -3), 4)

    seed = tf.constant(seed)
    (plain, folded), (drawn, seeds) = draw(seed), tf.function(draw, jit_compile=True)(seed)
    np.testing.assert_array_equal(plain, drawn)
    np.testing.assert_array_equal(folded, seeds)
    np.testing.assert_array_equal(plain, tf.random.stateless_uniform([3, 50], seed))
    assert plain.dtype == tf.float32 and seeds.dtype == tf.int32
    assert not np.array_equal(plain, ops.uniform([3, 50], folded))
