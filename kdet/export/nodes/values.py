"""Tensors on their way from a trace to ONNX."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from kdet.typing import Array

# where a map's channels are: last, as in TensorFlow, or behind the images
PLAIN = "plain"
NCHW = "nchw"
TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)


class Unsupported(Exception):
    """An op, or a form of it, that has no translation."""


@dataclasses.dataclass(frozen=True)
class Maps:
    """The name of a result ``[B,C,H,W]`` that stands for TensorFlow's ``[B,H,W,C]``."""

    name: str


# what a translation gives per output of the op
Result: TypeAlias = str | Maps


class Value:
    """A tensor: a constant, or the output of a node.

    Maps may be there in two layouts; a node that needs the other one transposes once.

    Attributes:
        shape, dtype: as TensorFlow has them (channels last).
        constant: its value where that is known.
        names: of ONNX, by layout; empty for a constant that no node has used yet.
        scope: of the graph whose nodes made it.
        twin: a tensor of the graph in which TensorFlow infers shapes.
    """

    def __init__(
        self,
        shape: Any,
        dtype: tf.DType,
        constant: Array | None = None,
        names: dict[str, str] | None = None,
        scope: int = 0,
        twin: Any = None,
    ) -> None:
        self.shape, self.dtype, self.constant = tf.TensorShape(shape), dtype, constant
        self.names, self.scope, self.twin = names or {}, scope, twin

    @classmethod
    def of(cls, constant: Any) -> "Value":
        """A constant."""
        array = np.asarray(constant)
        return cls(array.shape, tf.as_dtype(array.dtype), array)

    @property
    def rank(self) -> int:
        rank = self.shape.rank
        if rank is None:
            raise Unsupported("a tensor of unknown rank")
        return int(rank)

    @property
    def only_nchw(self) -> bool:
        """Whether it would have to be transposed for TensorFlow's layout."""
        return NCHW in self.names and PLAIN not in self.names

    def known(self, what: str) -> Array:
        """Its constant value.

        Raises:
            Unsupported: it is none; ``what`` is the argument's name.
        """
        if self.constant is None:
            raise Unsupported(f"{what} that is computed")
        return self.constant

    def known_sizes(self) -> list[int]:
        """Its shape.

        Raises:
            Unsupported: a dimension is open.
        """
        known = [size for size in self.sizes() if size is not None]
        if len(known) < self.rank:
            raise Unsupported("a tensor of an open size")
        return known

    def sizes(self) -> list[int | None]:
        """Its shape as a list, None for open dimensions."""
        return [None if size is None else int(size) for size in self.shape.as_list()]


class TensorList:
    """TensorFlow's list of tensors, at indices that are known."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)


class Variable:
    """What a captured handle is of."""

    def __init__(self, variable: tf.Variable) -> None:
        self.variable = variable
