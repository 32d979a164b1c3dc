"""Checks of what users give, that work inside a graph too, and errors that show the sentence alone."""

import contextlib
import numbers
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kdet import compat
from kdet.errors import short
from kdet.typing import Tensor

_MARK = re.compile(r"kdet says: (.*?) \[end\]", re.DOTALL)


def require(condition: tf.Tensor, sentence: str, *values: tf.Tensor) -> Tensor | None:
    """Raise unless ``condition`` holds.

    Args:
        condition: bool scalar.
        sentence: what is wrong and what to do; ``{}`` stands for each of ``values``.
        values: scalars, shown only when the condition does not hold.

    Returns:
        The check, for whatever must not run before it; None where nothing has to be checked in the graph.

    Raises:
        ValueError: at once where the condition is known; from inside a graph when it runs, through
            ``plain_errors``. Programs of XLA raise nothing: there the check is left out.
    """
    known = tf.get_static_value(condition)
    if known is not None:
        if not known:
            raise ValueError(sentence.format(*(_shown(value) for value in values)))
        return None
    if compat.under_xla():
        return None

    def fail() -> Tensor:
        said = tf.strings.format(f"kdet says: {sentence} [end]", list(values))
        with tf.control_dependencies([tf.debugging.Assert(False, [said], summarize=1)]):
            return tf.constant(False)

    with tf.device("CPU"):  # strings live there
        return tf.cond(condition, lambda: tf.constant(True), fail)


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Raise a ValueError unless an argument is a whole number (of Python or NumPy) from ``least`` on."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on; got {short(value)}.")


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what ``require`` raised inside a graph, and TensorFlow wrapped, into its ``ValueError``."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _MARK.search(str(error))
        if not found:
            raise
        raise ValueError(re.sub(r"\\(['\"\\])", r"\1", found.group(1))) from None


def _shown(value: Tensor) -> Any:
    known = tf.get_static_value(value)
    return known if known is None else known.tolist()
