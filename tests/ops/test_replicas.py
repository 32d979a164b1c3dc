"""Ops on two replicas, which is two logical devices in a process of its own, against one device."""

import os
import pathlib
import subprocess
import sys

import pytest

from kdet.ops import compiled

SCRIPT = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kdet import ops

rng = np.random.RandomState(0)
x, offsets = rng.randn(2, 9, 11, 16).astype("f"), rng.randn(2, 9, 11, 18).astype("f")
corners = rng.rand(2, 30, 2).astype("f") * [44, 36]
boxes = np.concatenate([corners, corners + 4 + rng.rand(2, 30, 2) * 20], -1).astype("f")
scores = rng.rand(2, 30).astype("f")
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    kernel = tf.Variable(rng.randn(3, 3, 16, 8).astype("f"), aggregation=tf.VariableAggregation.SUM)
    total = tf.Variable(tf.zeros_like(kernel), aggregation=tf.VariableAggregation.SUM)

def forward_and_gradients(x, offsets, boxes, scores):
    with tf.GradientTape() as tape:
        tape.watch([x, offsets])
        features = ops.deform_conv2d(x, kernel, offsets, padding=1)
        kept, num = ops.nms(boxes, scores, iou_threshold=0.5, max_output=12)
        pooled = ops.roi_align(features, tf.gather(boxes, kept, batch_dims=1), 3, 0.25)
        loss = tf.reduce_sum(tf.sin(pooled))
    return (pooled, kept, num), tape.gradient(loss, [x, offsets, kernel])

@tf.function
def on_replicas():
    def one():
        mine = tf.distribute.get_replica_context().replica_id_in_sync_group
        outputs, (for_x, for_offsets, for_kernel) = forward_and_gradients(
            *(tf.constant(v)[mine : mine + 1] for v in (x, offsets, boxes, scores))
        )
        total.assign_add(for_kernel)
        return (*outputs, for_x, for_offsets)
    return strategy.run(one)

with ops.use("compiled"):
    parts = on_replicas()
    outputs, (for_x, for_offsets, for_kernel) = forward_and_gradients(
        *map(tf.constant, (x, offsets, boxes, scores))
    )
assert strategy.num_replicas_in_sync == 2
for found, expected in zip(parts, [*outputs, for_x, for_offsets], strict=True):
    found = tf.concat(strategy.experimental_local_results(found), 0)
    # gradients of up to 20 are sums that two devices make in another order: a step of float32 there is 2e-6
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=3e-6)
np.testing.assert_allclose(total, for_kernel, atol=2e-4)
assert np.abs(for_kernel).max() > 1
print("as on one device")
"""


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
def test_two_replicas_equal_one_device():
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240
    )
    assert "as on one device" in done.stdout, done.stderr[-3000:]
