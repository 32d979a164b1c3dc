"""Where there is a GPU: every op runs on it, and gives what it gives on the CPU."""

import pytest
import tensorflow as tf

from kdet.ops import compiled, dispatch
from tests.ops.cases import CASES, TOLERANCE, outputs_and_gradients, tensors_of
from tests.ops.test_every_op import assert_near, every_op_and_type

if not tf.config.list_physical_devices("GPU"):
    pytest.skip("there is no GPU that TensorFlow can use", allow_module_level=True)


def test_the_library_has_its_kernels():
    assert compiled.why_not() is None
    assert compiled.has_gpu_kernels(), "KDET_CUDA=1 python -m kdet.ops build"


@every_op_and_type
def test_results_are_those_of_the_cpu(form, name, dtype):
    case = CASES[name]
    if form == "compiled" and name in dispatch.CPU_OPS:
        pytest.skip("is portable on a GPU")
    tensors = tensors_of(case, dtype)
    with tf.device("CPU"):
        expected = outputs_and_gradients(case, tensors)
    with tf.device("GPU"):
        found = outputs_and_gradients(case, [tf.identity(t) for t in tensors])
    assert all(v.device.endswith("GPU:0") for v in found)
    assert_near(found, expected, TOLERANCE[dtype])
