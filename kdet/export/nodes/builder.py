"""Nodes, weights and names of the ONNX graph that is made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.export.nodes.values import NCHW, PLAIN, TO_NCHW, TO_NHWC, Maps, Result, Unsupported, Value
from kdet.export.packages import needed
from kdet.typing import Array

OPSET = 19
# the first version of the file format that has the opset
IR_VERSION = 9
# constants up to so many elements are kept once however often they are used
_SHARED = 1024
_LARGEST = np.iinfo(np.int64).max
_LARGEST_HALF = float(np.finfo(np.float16).max)
TYPES = {
    tf.float32: "FLOAT",
    tf.float16: "FLOAT16",
    tf.float64: "DOUBLE",
    tf.int32: "INT32",
    tf.int64: "INT64",
    tf.uint8: "UINT8",
    tf.int8: "INT8",
    tf.bool: "BOOL",
}


class Builder:
    """Collects the nodes of a graph and of the graphs inside of it.

    Methods that make nodes take names of tensors or constants (numbers, lists, arrays) and give names.

    Args:
        half: large weights are kept in 16 bits.
    """

    def __init__(self, half: bool = False) -> None:
        self.onnx = needed("onnx", "onnx")
        self.half = half
        self.weights: list[Any] = []
        self.widened: list[Any] = []
        self.scopes: list[tuple[int, list[Any]]] = [(0, [])]
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = self._scopes = 0
        self.place = ""

    @property
    def nodes(self) -> list[Any]:
        """Of the graph that is being made."""
        return self.scopes[-1][1]

    @property
    def scope(self) -> int:
        return self.scopes[-1][0]

    def open_scope(self) -> None:
        """Nodes from here on belong to a graph inside of the present one."""
        self._scopes += 1
        self.scopes.append((self._scopes, []))

    def close_scope(self) -> list[Any]:
        """Nodes of the inner graph."""
        return self.scopes.pop()[1]

    def finished(self) -> tuple[list[Any], list[Any]]:
        """All nodes of the outermost graph, and the constants that are used."""
        used: set[str] = set()
        pending = list(self.nodes)
        while pending:
            node = pending.pop()
            used.update(node.input)
            pending += [inner for one in node.attribute if one.HasField("g") for inner in one.g.node]
        widened = [node for node in self.widened if node.output[0] in used]
        used.update(node.input[0] for node in widened)
        return [*widened, *self.nodes], [weight for weight in self.weights if weight.name in used]

    # ---- names

    def new_name(self, hint: str) -> str:
        self._count += 1
        return f"{self.place}/{hint}_{self._count}" if self.place else f"{hint}_{self._count}"

    def node(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; the names of its outputs.

        Args:
            kind: op of ONNX.
            *inputs: names or constants; "" for one that is left out.
        """
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        names = [self.new_name(kind) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, given, names, names[0], **attributes))
        return names

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """A node of one output; its name."""
        return self.node(kind, *inputs, **attributes)[0]

    def constant(self, value: Any) -> str:
        """The name of a constant: Python's floats are float32, its ints int64."""
        array = np.asarray(value)
        if not isinstance(value, (np.ndarray, np.generic)):
            array = array.astype({"f": np.float32, "i": np.int64}.get(array.dtype.kind, array.dtype))
        key = (str(array.dtype), array.shape, array.tobytes() if array.size <= _SHARED else b"")
        if array.size <= _SHARED and key in self._shared:
            return self._shared[key]
        name = self._kept(array)
        if array.size <= _SHARED:
            self._shared[key] = name
        return name

    def weight(self, array: Array) -> str:
        """The name of what a network multiplies by: in 16 bits where that is wanted and it is large."""
        array = np.asarray(array)
        if not self.half or array.dtype != np.float32 or array.size <= _SHARED:
            return self.constant(array)
        name = self._kept(np.clip(array, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16))
        wide = f"{name}_wide"
        self.widened.append(self.onnx.helper.make_node("Cast", [name], [wide], wide, to=1))
        return wide

    def _kept(self, array: Array) -> str:
        """The name of a new constant of the graph."""
        self._count += 1
        name = f"constant_{self._count}"
        # what was transposed lies in another order; 0-d arrays would become 1-d
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.weights.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def plain(self, value: Value) -> str:
        """The name of a value in TensorFlow's layout."""
        return self._in_layout(value, PLAIN, NCHW, TO_NHWC)

    def nchw(self, value: Value) -> str:
        """The name of maps ``[B,H,W,C]`` as ``[B,C,H,W]``."""
        if value.rank != 4:
            raise Unsupported(f"maps of {value.rank} dimensions")
        return self._in_layout(value, NCHW, PLAIN, TO_NCHW)

    def _in_layout(self, value: Value, wanted: str, other: str, order: Sequence[int]) -> str:
        if wanted in value.names:
            return value.names[wanted]
        if value.constant is not None:
            array = value.constant
            name = self.constant(array if wanted == PLAIN else np.transpose(array, order))
            value.names[wanted] = name
            return name
        name = self.op("Transpose", value.names[other], perm=list(order))
        if value.scope == self.scope:  # elsewhere the node may not be seen
            value.names[wanted] = name
        return name

    def value(self, result: Result, shape: Any, dtype: tf.DType, twin: Any = None) -> Value:
        """The value that a translation has given."""
        layout, name = (NCHW, result.name) if isinstance(result, Maps) else (PLAIN, result)
        return Value(shape, dtype, names={layout: name}, scope=self.scope, twin=twin)

    # ---- what many translations need

    def cast(self, name: Any, dtype: tf.DType) -> str:
        return self.op("Cast", name, to=self.type_of(dtype))

    def type_of(self, dtype: tf.DType) -> int:
        """ONNX's number of a type."""
        if dtype not in TYPES:
            raise Unsupported(f"tensors of {dtype.name}")
        return int(getattr(self.onnx.TensorProto, TYPES[dtype]))

    def int64(self, value: Value) -> str:
        """The name of whole numbers as ONNX wants indices and sizes."""
        if value.constant is not None:
            return self.constant(value.constant.astype(np.int64))
        return self.plain(value) if value.dtype == tf.int64 else self.cast(self.plain(value), tf.int64)

    def int32(self, name: str) -> str:
        return self.cast(name, tf.int32)

    def size(self, name: str, axis: int) -> str:
        """The length of one axis, int64 ``[1]``."""
        return self.op("Shape", name, start=axis, end=axis + 1)

    def shape(self, sizes: Sequence[Any]) -> str:
        """int64 ``[rank]`` of ints and of names of int64 ``[1]``."""
        if not any(isinstance(size, str) for size in sizes):
            return self.constant(np.asarray(sizes, np.int64).reshape([len(sizes)]))
        return self.op("Concat", *[s if isinstance(s, str) else [s] for s in sizes], axis=0)

    def sizes(self, value: Value, name: str | None = None) -> list[Any]:
        """The shape of a value (in TensorFlow's layout) as ints and names of int64 ``[1]``."""
        known = value.sizes()
        if None in known and name is None:
            name = self.plain(value)
        return [size if size is not None else self.size(str(name), axis) for axis, size in enumerate(known)]

    def reshape(self, name: str, sizes: Sequence[Any]) -> str:
        return self.op("Reshape", name, self.shape(sizes), allowzero=1 if 0 in sizes else 0)

    def unsqueeze(self, name: Any, *axes: int) -> str:
        return self.op("Unsqueeze", name, list(axes))

    def squeeze(self, name: str, *axes: int) -> str:
        return self.op("Squeeze", name, list(axes))

    def transpose(self, name: str, *order: int) -> str:
        return self.op("Transpose", name, perm=list(order))

    def slice(self, name: str, axis: int, start: Any, stop: Any = None, step: int = 1) -> str:
        """``name[start:stop:step]`` along an axis; ``stop`` None is the end."""
        stop = [_LARGEST if stop is None else stop] if not isinstance(stop, str) else stop
        start = [start] if not isinstance(start, str) else start
        return self.op("Slice", name, start, stop, [axis], [step])

    def filled(self, value: Any, sizes: Sequence[Any]) -> str:
        """A tensor of one value, a NumPy scalar."""
        shape = self.shape(sizes)
        tensor = self.onnx.numpy_helper.from_array(np.asarray([value]))
        return self.op("ConstantOfShape", shape, value=tensor)

    def graph(self, nodes: Sequence[Any], name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """A graph inside of another one."""
        return self.onnx.helper.make_graph(nodes, name, inputs, outputs)

    def info(self, name: str, dtype: tf.DType, shape: Any) -> Any:
        """What a graph says of an input or output."""
        open_rank = shape is None or (isinstance(shape, tf.TensorShape) and shape.rank is None)
        sizes = None if open_rank else list(shape)
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), sizes)


def nchw_axis(axis: int) -> int:
    """Where an axis of ``[B,H,W,C]`` is in ``[B,C,H,W]``."""
    return TO_NCHW.index(axis % 4)


def as_nchw(values: Sequence[Any]) -> list[Any]:
    """Values per axis of ``[B,H,W,C]`` in the order of ``[B,C,H,W]``."""
    return [values[axis] for axis in TO_NCHW]
