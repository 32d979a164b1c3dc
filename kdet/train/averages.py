"""Exponential averages of the weights (EMA): Keras' optimizers keep them, a model uses them for a while."""

import contextlib
from collections.abc import Iterator

import keras

from kdet.compat import averages_of


def has_averages(model: keras.Model) -> bool:
    """Whether the optimizer of a compiled model keeps averages (``use_ema=True``)."""
    return bool(averages_of(model.optimizer))


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Inside, the trainable weights of a model are their averages, where its optimizer keeps any.

    Afterwards they are to the bit what they were, so training goes on as if nothing had been.
    """
    pairs = averages_of(model.optimizer)
    before = [variable.numpy() for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(average)
    try:
        yield
    finally:
        for (variable, _), value in zip(pairs, before, strict=True):
            variable.assign(value)


def use_averages(model: keras.Model) -> None:
    """Give the model its averages for good, at the end of a training."""
    for variable, average in averages_of(model.optimizer):
        variable.assign(average)
