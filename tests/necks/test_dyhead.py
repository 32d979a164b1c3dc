"""DyHead: how a level lends its offsets to the one above, and what comes out."""

import numpy as np
import tensorflow as tf

from kdet.necks import DyHead
from kdet.necks.dyhead import first_values


def test_the_first_values_of_an_image_are_read_as_smaller_maps():
    x = tf.reshape(tf.range(2 * 4 * 6 * 3, dtype=tf.float32), [2, 4, 6, 3])
    small = first_values(x, tf.zeros([2, 2, 3, 1])).numpy()
    assert small.shape == (2, 2, 3, 3)
    for image in range(2):
        flat = x[image].numpy().transpose(2, 0, 1).ravel()
        np.testing.assert_array_equal(small[image].transpose(2, 0, 1).ravel(), flat[: 3 * 2 * 3])


def test_levels_keep_their_shapes_and_see_their_neighbors():
    neck = DyHead(16, num_blocks=1)
    maps = [tf.random.stateless_normal([1, size, size, 16], [0, size]) for size in (8, 4, 2)]
    before = neck(maps)
    assert [x.shape for x in before] == [x.shape for x in maps]
    after = neck([maps[0], maps[1], maps[2] + 1.0])
    changed = [bool(np.abs(a - b).max() > 1e-6) for a, b in zip(after, before)]
    assert changed == [False, True, True]
