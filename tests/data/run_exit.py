"""Ends in one of several ways while iterators of the pipeline are open: ``run_exit.py ANNOTATIONS WAY``.

Prints ``ready`` when all that is left to do is to end.
"""

import os
import pathlib
import signal
import sys
import time

import keras
import tensorflow as tf

from kdet import data
from kdet.data import decoding


def slow(*given):
    """Reads an image in so much time that the iterators never have all they want."""
    time.sleep(0.05)
    return decode(*given)


decode, decoding.decode = decoding.decode, slow


STEPS = []


class Trivial(keras.Model):
    """A model for ``fit`` that trains nothing, or is interrupted in its third step."""

    def train_step(self, batch):
        if WAY == "interrupt":
            tf.py_function(self.interrupt, [], [])
        return {"loss": tf.reduce_sum(batch[1]["boxes"])}

    def interrupt(self):
        STEPS.append(1)
        if len(STEPS) == 3:
            print("ready", flush=True)
            os.kill(os.getpid(), signal.SIGINT)


def pipeline(training):
    spec = {
        "annotations": sys.argv[1],
        "images": str(pathlib.Path(sys.argv[1]).parent),
        "filter_empty": False,
        "transforms": [{"type": "Resize", "sizes": [133, 80]}, {"type": "RandomFlip"}],
    }
    return data.load(spec, training=training, batch_size=2)


WAY = sys.argv[2]
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job has not
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
datasets = [pipeline(training).dataset().map(lambda *batch: batch) for training in (True, False)]
if WAY == "exception":
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    datasets.append(strategy.experimental_distribute_dataset(datasets[0]))
iterators = [iter(dataset) for dataset in datasets]
batches = [next(iterator) for iterator in iterators]
if WAY in ("fit", "interrupt"):
    model = Trivial()
    model.compile()
    model.fit(pipeline(True).dataset(), steps_per_epoch=3, verbose=0)
print("ready", flush=True)
if WAY == "exception":
    raise ValueError("as wanted")
