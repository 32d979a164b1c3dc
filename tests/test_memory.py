"""What tests/conftest.py does for the memory of the suite."""

import gc
import weakref

import tensorflow as tf


@tf.custom_gradient
def doubled(x):
    return 2.0 * x, lambda upstream: 3.0 * upstream


def test_a_custom_gradient_lives_as_long_as_its_graph():
    def in_a_loop(x):
        return tf.while_loop(lambda y: y < 8.0, lambda y: (doubled(y),), [doubled(x)])[0]

    traced = tf.function(in_a_loop, autograph=False)
    graph = weakref.ref(traced.get_concrete_function(tf.TensorSpec([], tf.float32)).graph)
    gc.collect()
    x = tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = traced(x)
    assert y == 8.0 and tape.gradient(y, x) == 27.0
    del traced, tape
    gc.collect()
    assert graph() is None
