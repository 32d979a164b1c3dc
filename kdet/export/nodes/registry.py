"""Translations: functions that make ONNX nodes of one op of TensorFlow."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from kdet.export.nodes.builder import Builder
from kdet.export.nodes.values import Result, Value


@dataclasses.dataclass(frozen=True)
class Call:
    """One op of a trace with its inputs.

    Attributes:
        builder: takes the nodes.
        op: of TensorFlow.
        inputs: values, in the op's order, lists of inputs one after the other.
        outputs: shape and type of each output, as far as TensorFlow infers them.
    """

    builder: Builder
    op: tf.Operation
    inputs: list[Value]
    outputs: list[tf.TensorSpec]

    def attribute(self, name: str) -> Any:
        """An attribute of the op."""
        return self.op.get_attr(name)

    def plain(self, index: int) -> str:
        """The name of an input in TensorFlow's layout."""
        return self.builder.plain(self.inputs[index])

    @property
    def shape(self) -> list[int | None]:
        """Of the first output; None for open dimensions."""
        return Value(self.outputs[0].shape, self.dtype).sizes()

    @property
    def dtype(self) -> tf.DType:
        """Of the first output."""
        return self.outputs[0].dtype


Translation: TypeAlias = Callable[[Call], Result | Sequence[Result]]
_KNOWN: dict[str, Translation] = {}


def translates(*kinds: str) -> Callable[[Translation], Translation]:
    """Make a function the translation of ops of TensorFlow (a decorator)."""

    def add(function: Translation) -> Translation:
        for kind in kinds:
            _KNOWN[kind] = function
        return function

    return add


def translation_of(kind: str) -> Translation | None:
    """The translation of an op, None where there is none."""
    return _KNOWN.get(kind)
