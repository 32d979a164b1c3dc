"""Loss scaling on two replicas: an overflow on one of them skips the step on both."""

import os
import pathlib
import subprocess
import sys

SCRIPT = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kdet.train.optimizers import SGD, LossScaleOptimizer

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    variable = keras.Variable([1.0, 2.0])
    optimizer = LossScaleOptimizer(SGD(0.5, momentum=0.0, global_clipnorm=1.0), initial_scale=4.0)
    optimizer.build([variable])

@tf.function
def step(overflowing_replica):
    def on_replica():
        here = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(here == overflowing_replica, np.inf, 4.0) * tf.constant([3.0, 4.0]) / 2.0
        optimizer.apply([gradient], [variable])
    strategy.run(on_replica)

step(1)
assert np.array_equal(variable.numpy(), [1.0, 2.0]), variable.numpy()
assert float(tf.convert_to_tensor(optimizer.dynamic_scale)) == 2.0
step(-1)
# the sum over the replicas points along [3, 4] and is clipped to norm 1
assert np.allclose(variable.numpy(), [1.0 - 0.5 * 0.6, 2.0 - 0.5 * 0.8]), variable.numpy()
print("as it should be")
"""


def test_an_overflow_on_one_replica_skips_the_step_on_both():
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240
    )
    assert "as it should be" in done.stdout, done.stderr[-3000:]
