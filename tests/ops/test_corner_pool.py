import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("direction", ["top", "bottom", "left", "right"])
def test_equals_the_reference(golden, form, direction):
    case = golden("corner_pool")
    x = tf.constant(case["x"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = ops.corner_pool(x, direction)
    np.testing.assert_array_equal(out, case[f"{direction}_out"])
    np.testing.assert_allclose(tape.gradient(out, x, case["upstream"]), case[f"{direction}_grad"], atol=1e-6)


def test_unknown_direction():
    with pytest.raises(ValueError, match="'up'"):
        ops.corner_pool(tf.ones([1, 2, 2, 1]), "up")


def test_by_hand(form):
    x = tf.reshape([3.0, 1.0, 2.0, 5.0], [1, 2, 2, 1])
    for direction, expected in dict(
        top=[3, 5, 2, 5], bottom=[3, 1, 3, 5], left=[3, 1, 5, 5], right=[3, 3, 2, 5]
    ).items():
        np.testing.assert_array_equal(
            tf.reshape(ops.corner_pool(x, direction), [-1]), expected, err_msg=direction
        )


def test_minus_infinity_stays(form):
    x = tf.fill([1, 3, 3, 1], float("-inf"))
    for direction in ("top", "bottom", "left", "right"):
        np.testing.assert_array_equal(ops.corner_pool(x, direction), x, err_msg=direction)
