"""SavedModels with compiled ops, in a process that has not used any."""

import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled

SCRIPT = """
import sys
import tensorflow as tf
from kdet import ops

try:
    tf.saved_model.load(sys.argv[1])
except RuntimeError as error:
    print("without:", error)
ops.load()
module, x = tf.saved_model.load(sys.argv[1]), tf.random.normal([2, 6, 7, 4])
with tf.GradientTape() as tape:
    tape.watch(x)
    total = tf.reduce_sum(module(x))
print("gradient", tape.gradient(total, x).shape)
"""


class Module(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 4])])
    def __call__(self, x):
        boxes = tf.tile([[[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 5.0, 5.0]]], [tf.shape(x)[0], 1, 1])
        with ops.use("compiled"):
            kept, _ = ops.nms(boxes, boxes[..., 0], iou_threshold=0.5, max_output=2)
            return ops.roi_align(ops.corner_pool(x, "top"), tf.gather(boxes, kept, batch_dims=1), 2)


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
def test_a_saved_model_loads_after_the_ops(tmp_path):
    tf.saved_model.save(Module(), str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "without: Op type not registered 'Kdet" in done.stdout, done.stderr[-3000:]
    assert "gradient (2, 6, 7, 4)" in done.stdout, done.stderr[-3000:]
