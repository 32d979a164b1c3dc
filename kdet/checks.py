"""Checks of what users give, that work inside a graph too, and errors that show the sentence alone."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kdet.typing import Tensor

_MARK = re.compile(r"kdet says: (.*?) \[end\]", re.DOTALL)


def require(condition: tf.Tensor, sentence: str, *values: tf.Tensor) -> None:
    """Raise unless ``condition`` holds.

    Args:
        condition: bool scalar.
        sentence: what is wrong and what to do; ``{}`` stands for each of ``values``.
        values: scalars, shown only when the condition does not hold.

    Raises:
        ValueError: at once where the condition is known; from inside a graph when it runs, through
            ``plain_errors``.
    """
    known = tf.get_static_value(condition)
    if known is not None:
        if not known:
            raise ValueError(sentence.format(*(_shown(value) for value in values)))
        return

    def fail() -> Tensor:
        said = tf.strings.format(f"kdet says: {sentence} [end]", list(values))
        with tf.control_dependencies([tf.debugging.Assert(False, [said], summarize=1)]):
            return tf.constant(False)

    with tf.device("CPU"):  # strings live there
        tf.cond(condition, lambda: tf.constant(True), fail)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what ``require`` raised inside a graph, and TensorFlow wrapped, into its ``ValueError``."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _MARK.search(str(error))
        if not found:
            raise
        raise ValueError(found.group(1)) from None


def _shown(value: Tensor) -> Any:
    known = tf.get_static_value(value)
    return known if known is None else known.tolist()
