"""One trace of a form serves eager callers with tensors of every size."""

import numpy as np
import tensorflow as tf

from kdet.ops.any_size import any_size


def scaled_sums():
    """A form, and the shapes for which it was traced."""
    shapes = []

    @any_size
    def form(maps, levels, scale):
        shapes.append(tuple(maps[0].shape))
        total = tf.add_n([tf.reduce_sum(one, axis=[1, 2]) for one in maps])
        return scale * total * tf.cast(tf.reduce_sum(levels, axis=1), tf.float32)[:, None]

    return form, shapes


def inputs(batch, size, channels):
    maps = (tf.ones([batch, size, size, channels]), tf.ones([batch, 1, 1, channels]))
    return maps, tf.ones([batch, size], tf.int32)


def test_eager_callers_share_a_trace_and_its_gradient():
    form, shapes = scaled_sums()
    for batch, size in ((1, 2), (2, 3), (3, 5)):
        maps, levels = inputs(batch, size, 4)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            found = form(maps, levels, scale=2.0)
        np.testing.assert_allclose(found, np.full([batch, 4], 2.0 * size * (size * size + 1)))
        np.testing.assert_allclose(tape.gradient(found, maps)[0], np.full(maps[0].shape, 2.0 * size))
    assert shapes == [(None, None, None, 4)]


def test_channels_and_plain_values_make_another():
    form, shapes = scaled_sums()
    for channels, scale in ((4, 2.0), (8, 2.0), (8, 3.0), (4, 2.0)):
        form(*inputs(1, 2, channels), scale=scale)
    assert shapes == [(None, None, None, 4), (None, None, None, 8), (None, None, None, 8)]


def test_shapes_in_a_graph_stay_static():
    form, shapes = scaled_sums()
    graph = tf.function(lambda maps, levels: form(maps, levels, scale=1.0), autograph=False)
    np.testing.assert_allclose(graph(*inputs(2, 3, 4)), np.full([2, 4], 30.0))
    assert shapes == [(2, 3, 3, 4)]
