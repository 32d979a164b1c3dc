"""Errors of readers inside ``tf.data``: TensorFlow keeps their text alone, users get them back as they were.

What a reader raises inside a dataset is remembered here (:func:`remembered`). When TensorFlow reports an
error, :func:`raised` looks for it in that report and raises it again, in plain iteration
(:func:`reporting`), in evaluation and in training.
"""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from kdet import compat

_SEEN: collections.deque[Any] = collections.deque(maxlen=64)


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` for ``tf.numpy_function``, with what it raises kept for :func:`raised`."""

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            _SEEN.append(error)
            raise

    return run


def original(report: BaseException) -> Exception | None:
    """What a reader raised, out of TensorFlow's error, or None where no reader raised."""
    text = str(report)
    found = [error for error in _SEEN if str(error) and str(error) in text]
    return found[-1] if found else None


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Inside, TensorFlow's report of a reader's error becomes that error, with the report as its context."""
    try:
        yield
    except tf.errors.OpError as report:
        error = original(report)
        if error is None:
            raise
        raise error from error.__cause__


def reporting(data: tf.data.Dataset) -> tf.data.Dataset:
    """A ``tf.data.Dataset`` whose iteration raises what its readers raised, and so do datasets made of it."""
    return compat.watched_dataset(data, raised)
