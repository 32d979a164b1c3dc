"""Averaged weights on two replicas are those of one device; accumulated gradients are refused there."""

import os
import pathlib
import subprocess
import sys

SCRIPT = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kdet.detectors.training import TrainingSteps
from kdet.train.averages import averaged
from kdet.train.optimizers import SGD, AdamW, LossScaleOptimizer


class Line(TrainingSteps):
    def __init__(self):
        super().__init__()
        self.line = keras.layers.Dense(3, kernel_initializer="ones")
        self.line.build([None, 2])

    def call(self, x):
        return self.line(x)

    def compute_losses(self, x, y):
        return {"loss_line": tf.reduce_mean(tf.square(self.line(x) - y))}


def fitted(strategy, optimizer):
    with strategy.scope():
        model = Line()
        model.compile(optimizer())
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    model.fit(data, epochs=3, verbose=0, shuffle=False)
    weights = [w.numpy() for w in model.trainable_weights]
    with averaged(model):
        averages = [w.numpy() for w in model.trainable_weights]
    assert all((w.numpy() == before).all() for w, before in zip(model.trainable_weights, weights))
    return weights, averages


random = np.random.default_rng(0)
X, Y = random.normal(size=(8, 2)).astype(np.float32), random.normal(size=(8, 3)).astype(np.float32)
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
kept = dict(use_ema=True, ema_momentum=0.8, ema_finalize=False)
for kind in (
    lambda: SGD(0.1, **kept),
    lambda: AdamW(0.1, **kept),
    lambda: LossScaleOptimizer(SGD(0.1, **kept), initial_scale=4.0),
):
    one_device, replicas = fitted(tf.distribute.get_strategy(), kind), fitted(two, kind)
    for wanted, got in zip(one_device, replicas):
        for a, b in zip(wanted, got):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert any(np.abs(w - a).max() > 1e-3 for w, a in zip(*replicas))  # averages lag behind

try:
    fitted(two, lambda: SGD(0.1, gradient_accumulation_steps=2))
except ValueError as error:
    print("refused:", error)
print("as it should be")
"""


def test_averages_are_those_of_one_device_and_accumulation_is_refused():
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240
    )
    assert "as it should be" in done.stdout, done.stderr[-3000:]
    assert "refused: gradient_accumulation_steps=2 works on one device, and here are 2" in done.stdout
