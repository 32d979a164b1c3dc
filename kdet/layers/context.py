"""What layers need to know about the call they are part of."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import tensorflow as tf

from kdet.layers.dropout import DropoutMasks
from kdet.typing import Tensor


class _Context(threading.local):  # every replica of a strategy runs in its own thread
    inference = False
    quick_convolutions = False
    rows: Tensor | None = None
    paths: DropoutMasks | None = None


_context = _Context()
_PATHS = 0x70617468


@contextlib.contextmanager
def statistics_of_rows(weight: Tensor) -> Iterator[None]:
    """Inside, batch statistics are those of the rows that count.

    Second stages work on a fixed number of regions, some of which are only there to fill the batch.

    Args:
        weight: ``[N]``, above 0 for the rows of the batch ``[N,h,w,C]`` that count.
    """
    _context.rows = tf.cast(weight > 0, tf.float32)
    try:
        yield
    finally:
        _context.rows = None


@contextlib.contextmanager
def _flag(name: str) -> Iterator[None]:
    before = vars(_context).get(name, False)
    vars(_context)[name] = True
    try:
        yield
    finally:
        vars(_context)[name] = before


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Inside, nothing trains: batch norm uses its running statistics, whatever its setting.

    Convolutions are as in ``quick_convolutions()``.
    """
    with _flag("inference"), _flag("quick_convolutions"):
        yield


def in_inference() -> bool:
    """True inside ``inference()``."""
    return _context.inference


def quick_convolutions() -> AbstractContextManager[None]:
    """Inside, 3x3 convolutions may take the quicker way whose rounding error is larger (``ops.conv3x3``)."""
    return _flag("quick_convolutions")


def convolutions_are_quick() -> bool:
    """True inside ``quick_convolutions()`` and ``inference()``."""
    return _context.quick_convolutions


def counted_rows() -> Tensor | None:
    """The weights of ``statistics_of_rows`` as 0 and 1, or None outside it."""
    return _context.rows


@contextlib.contextmanager
def dropping_paths(seed: Tensor) -> Iterator[None]:
    """Inside, stochastic depth (``layers.drop_path``) leaves residuals out.

    Args:
        seed: int32 ``[2]``, the step's ``info["seed"]``.
    """
    before = _context.paths
    # apart from the masks that heads draw from the same seed
    _context.paths = DropoutMasks(tf.random.experimental.stateless_fold_in(seed, _PATHS))
    try:
        yield
    finally:
        _context.paths = before


def dropped_paths() -> DropoutMasks | None:
    """What draws the residuals to leave out, None outside of ``dropping_paths``."""
    return _context.paths
