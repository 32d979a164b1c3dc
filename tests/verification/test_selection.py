"""The expected indices are what torch.topk gives on a CPU."""

import numpy as np
import pytest
import tensorflow as tf

from verification.selection import select, smallest


def row_with_ties(length):
    steps = np.arange(length)
    return np.float32(steps * 7919 % 101 % 6 + (steps * 31 % 17 > 1) * 2)


@pytest.mark.parametrize(
    "length, expected",
    [
        (40, [0, 28, 17, 19]),
        (240, [181, 130, 0, 221]),
        (300, [181, 0, 221, 130]),
        (900, [0, 130, 453, 272, 221, 323, 504, 232, 181]),
    ],
)
def test_equal_values_are_taken_as_torch_takes_them(length, expected):
    assert select(row_with_ties(length), len(expected)) == expected


def test_long_selection_from_a_short_row():
    row = row_with_ties(700)
    chosen = select(row, 50)
    assert sorted(row[chosen]) == sorted(row)[:50]
    assert {323, 111, 663} < set(chosen) and 4 not in chosen


def test_rows_are_selected_one_by_one():
    rows = tf.constant([[[3.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]]])
    assert smallest(rows, 2).numpy().tolist() == [[[1, 2]], [[0, 1]]]
