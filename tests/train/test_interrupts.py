"""Signals end a run after the step, with a checkpoint."""

import os
import signal
import threading

import keras
import numpy as np
import pytest

from kdet.errors import Stopped
from kdet.train.checkpoints import Checkpoints
from kdet.train.interrupts import Interrupts, StopOnSignal

X, Y = np.ones([12, 2], np.float32), np.zeros([12, 1], np.float32)


class Send(keras.callbacks.Callback):
    def __init__(self, number, at):
        super().__init__()
        self.number, self.at = number, at

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.at:
            os.kill(os.getpid(), self.number)


def fit(folder, *others):
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    checkpoints = Checkpoints(folder)
    with Interrupts().caught() as interrupts:
        stop = StopOnSignal(interrupts, checkpoints, first_step=10)
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[stop, *others])
    return checkpoints


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_step_and_writes_a_checkpoint(tmp_path, name):
    if name not in signal.Signals.__members__:
        pytest.skip(f"this system has no {name}")
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"{name} ended the run at step 13; step_00000013"):
        fit(tmp_path, Send(number, at=2))
    assert Checkpoints(tmp_path).steps() == [13]
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path, Send(signal.SIGINT, at=2), Send(signal.SIGINT, at=2))
    assert not isinstance(caught.value, Stopped) and Checkpoints(tmp_path).steps() == []


def test_without_a_signal_nothing_is_written(tmp_path):
    assert fit(tmp_path).steps() == []


def test_in_a_thread_nothing_is_caught(tmp_path):
    before, found = signal.getsignal(signal.SIGTERM), []

    def run():
        with Interrupts().caught():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("writes", [True, False])
def test_all_workers_end_after_the_step_in_which_one_had_a_signal(tmp_path, writes):
    said = []

    def exchange(own):
        said.append(own)
        return [own, b"SIGTERM" if len(said) == 3 else b""]

    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    stop = StopOnSignal(Interrupts(), Checkpoints(tmp_path), 10, exchange, writes)
    with pytest.raises(Stopped, match="SIGTERM ended the run at step 13; step_00000013"):
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[stop])
    assert said == [b""] * 3 and Checkpoints(tmp_path).steps() == ([13] if writes else [])
