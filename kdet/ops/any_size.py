"""Portable forms with loops, as graphs that are traced once for tensors of every size."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Form = TypeVar("_Form", bound=Callable[..., Any])


def any_size(form: _Form) -> _Form:
    """Make a form run as a graph when its caller is eager, too (a decorator).

    In a caller's graph shapes stay as static as they are. An eager caller has about as many sizes as images,
    and a trace takes a second: there is one for all sizes, in which only the last axis of floating tensors,
    channels or coordinates, is known.

    Args:
        form: takes tensors and sequences of tensors by position, and plain values by keyword.
    """
    graph = tf.function(form, autograph=False)
    # apart, for a graph's call would take the trace with open sizes where there is one
    open_graph = tf.function(form, autograph=False)

    @functools.wraps(form)
    def run(*arguments: Any, **attributes: Any) -> Any:
        if not tf.executing_eagerly():
            return graph(*arguments, **attributes)
        specs = tf.nest.map_structure(_open, arguments)
        traced = open_graph.get_concrete_function(*specs, **attributes)
        return traced(*arguments, **attributes)

    return run  # type: ignore[return-value]


def _open(tensor: tf.Tensor) -> tf.TensorSpec:
    shape: list[int | None] = [None] * tensor.shape.rank
    if tensor.dtype.is_floating and shape:
        shape[-1] = tensor.shape[-1]
    return tf.TensorSpec(shape, tensor.dtype)
