"""Pyramids beyond FPN: shapes, sizes and what is handed on."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.necks import FPG, HRFPN, NASFPN, PAFPN, FPNCarafe
from kdet.necks.nas_fpn import resize_to


def maps(finest=32, channels=(4, 8, 8, 8)):
    return tuple(
        tf.random.stateless_normal([1, finest >> i, finest >> i, c], [i, 0]) for i, c in enumerate(channels)
    )


@pytest.mark.parametrize(
    ("neck", "finest"),
    [
        (PAFPN(out_channels=4), 32),
        (FPNCarafe(out_channels=4), 32),
        (HRFPN(out_channels=4), 32),
        (FPG(out_channels=4, stack_times=5), 32),
        (NASFPN(out_channels=4, stack_times=1), 64),
    ],
)
def test_five_levels_each_half_of_the_one_before(neck, finest):
    outputs = neck(maps(finest))
    sizes = [x.shape[1] for x in outputs]
    assert sizes == [sizes[0] >> i for i in range(5)]
    assert {x.shape[-1] for x in outputs} == {4}


def test_resize_takes_the_largest_of_padded_windows():
    x = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    small = resize_to(x, tf.zeros([1, 2, 2, 1]), 1)
    # one row and column of zeros at the end: windows of 2x2
    np.testing.assert_array_equal(small[0, :, :, 0], [[4, 5], [7, 8]])
    large = resize_to(small, tf.zeros([1, 4, 4, 1]), -1)
    np.testing.assert_array_equal(large[0, :2, :2, 0], [[4, 4], [4, 4]])


def test_open_sizes_change_nothing():
    neck, inputs = NASFPN(out_channels=4, stack_times=1), maps(48)  # 3x3 maps: windows that do not divide
    wanted = neck(inputs)
    signature = [tf.TensorSpec([1, None, None, x.shape[-1]]) for x in inputs]
    for ours, theirs in zip(tf.function(lambda *x: neck(x), signature)(*inputs), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_skipped_node_hands_its_map_on():
    neck = FPG(out_channels=4, num_outs=5, stack_times=1, skips=((0,), (), (), (), ()))
    inputs = maps()
    outputs = neck(inputs)
    lateral = neck.lateral_convs[0](inputs[0])
    np.testing.assert_allclose(outputs[0], neck.output_transition[0](lateral), atol=1e-5)
