import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


@pytest.mark.parametrize("ratio", [0, 2])
def test_equals_the_reference(golden, form, ratio):
    check(golden, ratio, None)


def test_xla_equals_the_reference(golden, portable):
    check(golden, 0, True)


def check(golden, ratio, jit_compile):
    case = golden("deform_roi_pool")

    @tf.function(jit_compile=jit_compile)
    def run(features, offsets):
        with tf.GradientTape() as tape:
            tape.watch((features, offsets))
            levels = tf.zeros([2, 5], tf.int32)
            out = ops.deform_roi_pool(
                (features,), case["boxes"], levels, offsets, (4, 3), (4,), ratio, gamma=0.3
            )
        return out, *tape.gradient(out, (features, offsets), case["upstream"])

    found = run(tf.constant(case["features"]), tf.constant(case["offsets"]))
    for key, value in zip(("out", "grad_features", "grad_offsets"), found, strict=True):
        np.testing.assert_allclose(value, case[f"{key}_{ratio}"], atol=2e-5, err_msg=key)


def test_without_offsets_is_roi_align(golden, form):
    case = golden("deform_roi_pool")
    pooled = ops.deform_roi_pool(
        (case["features"],), case["boxes"], tf.zeros([2, 5], tf.int32), None, 3, (4,)
    )
    np.testing.assert_allclose(pooled, ops.roi_align(case["features"], case["boxes"], 3, 0.25), atol=1e-5)
