import numpy as np

from kdet import ops


def test_equals_the_reference(golden):
    case = golden("masked_conv")
    out = ops.masked_conv2d(case["x"], case["mask"], case["kernel"], case["bias"], padding=1)
    np.testing.assert_allclose(out, case["out"], atol=1e-5)
