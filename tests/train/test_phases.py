"""The phase of training follows from the epoch."""

import keras

from kdet.train import LateLosses


class Recording(keras.Model):
    def __init__(self):
        super().__init__()
        self.phases = []

    def use_late_losses(self, late):
        self.phases.append(late)


def test_a_negative_number_counts_from_the_end():
    assert [LateLosses.of(given, 300).first for given in (4, -15, -400, 0)] == [4, 285, 0, 0]


def test_the_losses_change_from_an_epoch_on():
    model, callback = Recording(), LateLosses(2)
    callback.set_model(model)
    for epoch in (0, 1, 2, 3, 1):  # the last as after a resume
        callback.on_epoch_begin(epoch)
    assert model.phases == [False, False, True, True, False]
