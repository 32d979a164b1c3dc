"""The smallest of rows; ``RECORDED``: ``torch.topk(rows, 4, dim=1, largest=False)`` of PyTorch 2.13."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.ops.ranking import smallest, smallest_in_passing

RECORDED = {  # up to 255 values the library's nth_element chooses, from 256 on its partial_sort
    5: [[4, 1, 3, 0], [4, 1, 0, 3], [0, 4, 1, 3]],
    12: [[7, 5, 1, 11], [9, 4, 3, 10], [1, 3, 9, 5]],
    60: [[5, 48, 3, 23], [8, 46, 49, 34], [10, 35, 1, 0]],
    255: [[129, 8, 193, 235], [139, 163, 157, 160], [24, 204, 150, 141]],
    256: [[250, 66, 53, 31], [191, 12, 67, 63], [66, 1, 239, 185]],
    700: [[627, 480, 686, 253], [396, 363, 454, 283], [589, 199, 139, 278]],
}


def rows(length):
    values = np.random.default_rng(length).integers(0, max(length // 4, 3), (3, length)).astype(np.float32)
    values[:, length // 2] = np.inf
    return values


def test_equal_values_are_taken_by_index():
    assert smallest(tf.constant([[5.0, 9.0, 5.0, 1.0, 5.0]]), 3).numpy().tolist() == [[3, 0, 2]]


@pytest.mark.parametrize("length", RECORDED)
def test_equal_values_are_taken_as_torch_takes_them(length):
    assert smallest_in_passing(tf.constant(rows(length)), 4).numpy().tolist() == RECORDED[length]


def test_rows_of_any_length_in_one_graph():
    function = tf.function(
        lambda values: smallest_in_passing(values, 4),
        input_signature=[tf.TensorSpec([None, 1, None], tf.float32)],
        autograph=False,
    )
    for length in (12, 256):
        found = function(tf.constant(rows(length)[:, None]))
        assert found.shape == (3, 1, 4) and found[:, 0].numpy().tolist() == RECORDED[length]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_without_ties_it_is_the_order(count):
    for length in (3, 10, 64 * count):
        values = np.random.default_rng(length).permutation(length).astype(np.float32)
        assert smallest_in_passing(values[None], count).numpy().tolist() == [
            np.argsort(values)[:count].tolist()
        ]
