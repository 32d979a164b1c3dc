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
