"""Portable ops as functions that carry the op's name, so that an exporter can put one op of its format there.

A trace holds the portable form of an op as hundreds of TensorFlow's nodes. Within `marking`, the forms that
are decorated with `marked` are traced as functions of their own, which say what they compute: `mark_of` reads
it. The trace runs in TensorFlow as before.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

_Form = TypeVar("_Form", bound=Callable[..., Any])
_PLACE = "tensor"
_marking = False


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a marked function computes.

    Attributes:
        name: of the op.
        arguments: of its form in their order, lists and plain values; ``{"tensor": i}`` is input ``i`` of
            the function.
        attributes: the form's keyword arguments, plain values.
    """

    name: str
    arguments: list[Any]
    attributes: dict[str, Any]

    def filled(self, inputs: list[Any]) -> list[Any]:
        """``arguments`` with the function's ``inputs`` in their places."""

        def fill(value: Any) -> Any:
            if isinstance(value, dict):
                return inputs[value[_PLACE]]
            return [fill(part) for part in value] if isinstance(value, list) else value

        return [fill(value) for value in self.arguments]


@contextlib.contextmanager
def marking() -> Iterator[None]:
    """What is traced within has its ops marked."""
    global _marking
    before, _marking = _marking, True
    try:
        yield
    finally:
        _marking = before


def marked(name: str) -> Callable[[_Form], _Form]:
    """Make the portable form of an op one that can be marked (a decorator).

    Args:
        name: of the op. The form takes tensors, plain values and lists of both by position, and plain values
            by keyword.
    """

    def decorate(form: _Form) -> _Form:
        @functools.wraps(form, updated=())
        def run(*arguments: Any, **attributes: Any) -> Any:
            if not _marking:
                return form(*arguments, **attributes)
            return _traced(name, form, arguments, attributes)

        return run  # type: ignore[return-value]

    return decorate


def mark_of(implements: bytes) -> Mark | None:
    """Read the attribute ``_implements`` of a function; None where it is no mark of kdet's."""
    try:
        found = json.loads(implements)
    except ValueError:
        return None
    known = isinstance(found, dict) and found.keys() == {"kdet", "arguments", "attributes"}
    return Mark(found["kdet"], found["arguments"], found["attributes"]) if known else None


def _traced(name: str, form: Callable[..., Any], arguments: Any, attributes: dict[str, Any]) -> Any:
    """The call of ``form`` as that of a function with a mark."""
    leaves = tf.nest.flatten(arguments)
    tensors = [leaf for leaf in leaves if tf.is_tensor(leaf)]
    places = iter(range(len(tensors)))
    described = tf.nest.pack_sequence_as(
        arguments, [{_PLACE: next(places)} if tf.is_tensor(leaf) else leaf for leaf in leaves]
    )

    def body(*inputs: Any) -> Any:
        given = iter(inputs)
        filled = [next(given) if tf.is_tensor(leaf) else leaf for leaf in leaves]
        return form(*tf.nest.pack_sequence_as(arguments, filled), **attributes)

    said = json.dumps({"kdet": name, "arguments": described, "attributes": attributes}, default=int)
    return tf.function(body, autograph=False, experimental_implements=said)(*tensors)
