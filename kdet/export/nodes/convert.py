"""A trace as an ONNX model.

The trace is walked once. What depends on constants alone TensorFlow computes then and there (folded weights,
anchors, sizes); functions are entered, loops whose end is known are unrolled, the rest becomes nodes. Shapes
are TensorFlow's: every op is made again in a graph that is never run.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import compat
from kdet.export.nodes import elementwise, indexing, reducing, shaping, spatial  # noqa: F401 (they register)
from kdet.export.nodes.builder import IR_VERSION, OPSET, Builder
from kdet.export.nodes.kernels import KERNELS, Kernel
from kdet.export.nodes.loops import branch, loop
from kdet.export.nodes.registry import Call, translation_of
from kdet.export.nodes.shaping import stacked
from kdet.export.nodes.values import PLAIN, Maps, Result, TensorList, Unsupported, Value, Variable
from kdet.ops.marks import mark_of

# constants up to so many elements are given to TensorFlow's inference of shapes, which looks at sizes only
_SMALL = 256
# bytes from which a constant that is mostly repetition is made at run time
_LARGE = 1 << 22
_EXPANDING = frozenset({"BroadcastTo", "Fill", "OnesLike", "Pad", "PadV2", "Tile", "ZerosLike"})
_PASSING = frozenset(
    "CheckNumerics EnsureShape Identity IdentityN PreventGradient ReadVariableOp StopGradient".split()
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


# what a network is made of, and what ends it: a first choice of boxes
_NETWORK, _CHOICES = frozenset({"BatchMatMulV2", "Conv2D", "MatMul"}), frozenset({"TopKV2"})
_PROBES = 12


class Converter:
    """Walks traces; `Builder` takes the nodes.

    Args:
        half: weights are kept in 16 bits.
        kernels: in the place of some of `KERNELS`, for a runtime that lacks what those are made of.

    Attributes:
        probes: outputs of the network's last layers before a first choice of boxes: name in the model ->
            (tensor of the trace, whether the model has it as ``[B,C,H,W]``).
    """

    def __init__(self, half: bool = False, kernels: Mapping[str, Kernel] | None = None) -> None:
        self.builder = Builder(half)
        self.kernels = {**KERNELS, **(kernels or {})}
        self.twins = tf.Graph()
        self.probes: dict[str, tuple[Any, bool]] = {}
        self._chosen, self._outermost = False, None

    def model(self, traced: Any, name: str, input_names: Sequence[str], properties: dict[str, str]) -> Any:
        """The ONNX model of a trace.

        Args:
            traced: ``ConcreteFunction`` that gives a dict of tensors, whose ops may carry kdet's marks.
            name: of the graph.
            input_names: of the inputs, in their order.
            properties: what the file says of itself.

        Returns:
            ``onnx.ModelProto``.

        Raises:
            Unsupported: an op has no translation; the message names it and its layer.
        """
        builder, helper = self.builder, self.builder.onnx.helper
        self._outermost = traced.graph
        inputs, arguments = self._inputs(traced, input_names)
        found = self.run(traced.graph, arguments)
        structured, outputs = traced.structured_outputs, list[Any]()
        for key, value in zip(sorted(structured), found):
            spec = structured[key]
            builder.nodes.append(helper.make_node("Identity", [builder.plain(value)], [key]))
            outputs.append(builder.info(key, spec.dtype, _named(spec.shape)))
        nodes, weights = builder.finished()
        graph = helper.make_graph(nodes, name, inputs, outputs, weights)
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="kdet")
        helper.set_model_props(made, properties)
        return made

    def _inputs(self, traced: Any, input_names: Sequence[str]) -> tuple[list[Any], list[Any]]:
        """What the model says of its inputs, and the values of all inputs of the graph."""
        builder, names = self.builder, iter(input_names)
        infos: list[Any] = []
        arguments: list[Any] = []
        variables = {id(variable.handle): variable for variable in traced.variables}
        held = {inner.name: outer for outer, inner in traced.graph.captures}
        for tensor in traced.graph.inputs:
            outer = held.get(tensor.name)
            if outer is None:
                given = next(names)
                arguments.append(Value(tensor.shape, tensor.dtype, names={PLAIN: given}))
                infos.append(builder.info(given, tensor.dtype, _named(tensor.shape)))
            elif tensor.dtype == tf.resource:
                arguments.append(Variable(variables[id(outer)]))
            else:
                arguments.append(Value.of(outer.numpy()))
        return infos, arguments

    def run(self, graph: Any, arguments: Sequence[Any]) -> list[Any]:
        """The values of a graph's outputs for those of its inputs."""
        known = {tensor.name: value for tensor, value in zip(graph.inputs, arguments, strict=True)}
        wanted = _needed_for(graph.outputs, known)
        for op in graph.get_operations():
            if op.name not in wanted or all(tensor.name in known for tensor in op.outputs):
                continue
            inputs = [known[tensor.name] for tensor in op.inputs]
            try:
                results = self.apply(op, inputs)
            except Unsupported as reason:
                if ": " in str(reason):
                    raise
                raise Unsupported(f"{op.type} ({op.name}): {reason}") from reason
            self._probe(op, results)
            known.update({tensor.name: value for tensor, value in zip(op.outputs, results, strict=True)})
        return [known[tensor.name] for tensor in graph.outputs]

    def _probe(self, op: tf.Operation, results: list[Any]) -> None:
        """Remembers what the network computes, of the outermost graph."""
        if op.graph is not self._outermost or self._chosen:
            return
        self._chosen = op.type in _CHOICES
        if op.type in _NETWORK and results[0].constant is None:
            ((layout, name), *_) = results[0].names.items()
            self.probes[name] = (op.outputs[0], layout != PLAIN)
            if len(self.probes) > _PROBES:
                self.probes.pop(next(iter(self.probes)))

    def apply(self, op: tf.Operation, inputs: list[Any]) -> list[Any]:
        """The outputs of one op."""
        kind = op.type
        if kind == "Const":
            return [Value.of(tf.make_ndarray(op.get_attr("value")))]
        if kind in _PASSING:
            return [self._passed(op, value) for value in inputs]
        if kind in _CALLS:
            return self._call(op, inputs)
        if kind in ("If", "StatelessIf"):
            return branch(self, op, inputs)
        if kind in ("While", "StatelessWhile"):
            return loop(self, op, inputs)
        if kind.startswith("TensorList") or kind == "EmptyTensorList":
            return self._list(op, inputs)
        if all(value.constant is not None for value in inputs) and not op.op_def.is_stateful:
            if (folded := self._folded(op, inputs)) is not None:
                return folded
        return self._translated(op, inputs)

    def _passed(self, op: tf.Operation, value: Any) -> Any:
        if isinstance(value, Variable):
            return Value.of(value.variable.numpy()) if op.type == "ReadVariableOp" else value
        if op.type == "EnsureShape" and value.constant is None and value.shape != op.outputs[0].shape:
            merged = value.shape.merge_with(op.outputs[0].shape)
            return Value(merged, value.dtype, names=value.names, scope=value.scope)
        return value

    def _call(self, op: tf.Operation, inputs: list[Any]) -> list[Any]:
        graph, implements = compat.called_function(op, "f")
        mark = mark_of(implements)
        if mark is None or mark.name not in self.kernels:
            return self.run(graph, inputs)
        try:
            self.builder.place = op.name.rpartition("/")[0]
            self._chosen = self._chosen or mark.name == "nms"
            made = self.kernels[mark.name](self.builder, *mark.filled(inputs), **mark.attributes)
        except Unsupported:
            return self.run(graph, inputs)
        sizes = [tensor.shape for tensor in self._inferred(op, inputs, graph)]
        return [
            self.builder.value(result, shape, tensor.dtype)
            for result, shape, tensor in zip(made, sizes, op.outputs, strict=True)
        ]

    def _inferred(self, op: tf.Operation, inputs: list[Any], graph: Any) -> Sequence[Any]:
        """Outputs of a marked function, for their shapes."""
        return [
            outer if outer.shape.rank is not None else inner
            for outer, inner in zip(op.outputs, graph.outputs)
        ]

    def _list(self, op: tf.Operation, inputs: list[Any]) -> list[Any]:
        """Ops of TensorFlow's lists, which are gone once the file is made."""
        kind = op.type.removeprefix("TensorList")
        if kind == "Reserve":
            return [TensorList([None] * int(inputs[1].known("the length of a list")))]
        if kind == "EmptyTensorList":
            return [TensorList([])]
        if kind == "FromTensor":
            return [TensorList(self._rows(inputs[0]))]
        items = inputs[0].items
        if kind == "Length":
            return [Value.of(np.int32(len(items)))]
        if kind == "PushBack":
            return [TensorList([*items, inputs[1]])]
        if kind == "Stack":
            if not items or any(item is None for item in items):
                raise Unsupported("a list with nothing in it")
            return [self._stacked(op, items)]
        index = int(inputs[1].known("an index of a list"))
        if kind == "GetItem":
            return [items[index]]
        if kind == "SetItem":
            return [TensorList([*items[:index], inputs[2], *items[index + 1 :]])]
        raise Unsupported("this op of lists")

    def _rows(self, value: Value) -> list[Value]:
        count = value.sizes()[0]
        if count is None:
            raise Unsupported("a list of open length")
        if value.constant is not None:
            return [Value.of(row) for row in value.constant]
        name, shape = self.builder.plain(value), value.shape[1:]
        rows = [self.builder.op("Gather", name, np.asarray(k, np.int64), axis=0) for k in range(count)]
        return [self.builder.value(row, shape, value.dtype) for row in rows]

    def _stacked(self, op: tf.Operation, items: list[Value]) -> Value:
        if all(item.constant is not None for item in items):
            return Value.of(np.stack([item.known("an item") for item in items]))
        call = Call(self.builder, op, items, [])
        return self.builder.value(stacked(call, items, 0), [len(items), *items[0].shape], items[0].dtype)

    def _folded(self, op: tf.Operation, inputs: list[Value]) -> list[Value] | None:
        """What TensorFlow computes of constants; None where that is better done at run time."""
        # tensors: of arrays some ops make whole numbers where they can
        found = _made_again(op, [tf.constant(value.constant) for value in inputs])
        arrays = [np.asarray(tensor) for tensor in found]
        given = sum(value.known("an input").nbytes for value in inputs)
        if op.type in _EXPANDING and sum(array.nbytes for array in arrays) > max(_LARGE, 4 * given):
            return None
        return [Value.of(array) for array in arrays]

    def _translated(self, op: tf.Operation, inputs: list[Value]) -> list[Value]:
        translation = translation_of(op.type)
        if translation is None:
            raise Unsupported("no translation")
        with self.twins.as_default():
            twins = _made_again(op, [self._twin(value) for value in inputs])
        specs = [tf.TensorSpec(twin.shape, twin.dtype) for twin in twins]
        if all(spec.dtype in (tf.int32, tf.int64) for spec in specs):  # sizes that are known after all
            static = [tf.get_static_value(twin) for twin in twins]
            if all(value is not None for value in static):
                return [Value.of(np.asarray(v, s.dtype.as_numpy_dtype)) for v, s in zip(static, specs)]
        self.builder.place = op.name.rpartition("/")[0]
        made = translation(Call(self.builder, op, inputs, specs))
        results: list[Result] = [made] if isinstance(made, (str, Maps)) else list(made)
        return [
            self.builder.value(result, spec.shape, spec.dtype, twin)
            for result, spec, twin in zip(results, specs, twins, strict=True)
        ]

    def _twin(self, value: Value) -> Any:
        """A tensor like ``value`` in the graph that infers shapes."""
        if value.constant is not None and value.constant.size <= _SMALL:
            return tf.constant(value.constant)
        if value.twin is None:
            value.twin = tf.compat.v1.placeholder(value.dtype, value.shape)
        return value.twin


def _made_again(op: tf.Operation, inputs: list[Any]) -> list[Any]:
    """The outputs of the same op of other inputs: computed, or tensors of the default graph."""
    arguments: dict[str, Any] = {}
    given, inferred = list(inputs), set[str]()
    for slot in op.op_def.input_arg:
        inferred |= {slot.type_attr, slot.number_attr, slot.type_list_attr}
        if slot.number_attr or slot.type_list_attr:
            length = op.get_attr(slot.number_attr or slot.type_list_attr)
            count = length if slot.number_attr else len(length)
            arguments[slot.name], given = given[:count], given[count:]
        else:
            arguments[slot.name], given = given[0], given[1:]
    for attribute in op.op_def.attr:
        if attribute.name not in inferred:
            arguments[attribute.name] = op.get_attr(attribute.name)
    renamed = _renamed(op.type, tuple(arguments))
    made = getattr(tf.raw_ops, op.type)(**{renamed[name]: value for name, value in arguments.items()})
    if isinstance(made, tf.Operation):
        return []
    return list(tf.nest.flatten(made))


@functools.cache
def _renamed(kind: str, names: tuple[str, ...]) -> dict[str, str]:
    """What TensorFlow's Python calls the arguments of an op: a few have other names there, in their order."""
    known = list(inspect.signature(getattr(tf.raw_ops, kind)).parameters)
    others = [name for name in known if name not in names and name != "name"]
    return {name: name if name in known else others.pop(0) for name in names}


def _needed_for(outputs: Sequence[Any], known: dict[str, Any]) -> set[str]:
    """Names of ops that outputs are made of; what is run for its effects, such as checks, is left out."""
    found: set[str] = set()
    pending = [tensor.op for tensor in outputs]
    while pending:
        op = pending.pop()
        if op.name not in found:
            found.add(op.name)
            pending += [tensor.op for tensor in op.inputs if tensor.name not in known]
    return found


def _named(shape: tf.TensorShape) -> list[Any]:
    """Sizes of inputs and outputs; open ones by their usual names."""
    names = {0: "batch", 1: "height" if shape.rank == 4 else "rows", 2: "width"}
    return [names.get(axis, f"size_{axis}") if size is None else size for axis, size in enumerate(shape)]
