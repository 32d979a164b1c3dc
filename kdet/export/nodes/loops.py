"""Loops and branches: unrolled or taken where that is known, else ONNX's own."""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kdet import compat
from kdet.export.nodes.values import PLAIN, TensorList, Unsupported, Value

if TYPE_CHECKING:
    from kdet.export.nodes.convert import Converter

# A loop whose number of turns is known is unrolled up to so many.
_TURNS = 128


def branch(converter: "Converter", op: tf.Operation, inputs: list[Any]) -> list[Any]:
    """``tf.cond``."""
    condition, *arguments = inputs
    graphs = [compat.called_function(op, name)[0] for name in ("then_branch", "else_branch")]
    if condition.constant is not None:
        return converter.run(graphs[0] if condition.constant else graphs[1], arguments)
    builder, made = converter.builder, list[tuple[Any, list[Value]]]()
    for graph in graphs:
        builder.open_scope()
        found = converter.run(graph, arguments)
        names = [builder.op("Identity", builder.plain(value)) for value in found]
        nodes = builder.close_scope()
        infos = [builder.info(name, v.dtype, v.shape) for name, v in zip(names, found)]
        made.append((builder.graph(nodes, graph.name, [], infos), found))
    (then, first), (other, second) = made
    names = builder.node(
        "If", builder.plain(condition), outputs=len(first), then_branch=then, else_branch=other
    )
    shapes = [a.shape if a.shape == b.shape else _common(a.shape, b.shape) for a, b in zip(first, second)]
    return [builder.value(name, shape, v.dtype) for name, shape, v in zip(names, shapes, first)]


def _common(first: tf.TensorShape, second: tf.TensorShape) -> tf.TensorShape:
    """What two shapes agree on."""
    if first.rank is None or first.rank != second.rank:
        return tf.TensorShape(None)
    return tf.TensorShape([a if a == b else None for a, b in zip(first, second)])


def loop(converter: "Converter", op: tf.Operation, inputs: list[Any]) -> list[Any]:
    """``tf.while_loop``, ``tf.map_fn``."""
    condition, body = (compat.called_function(op, name)[0] for name in ("cond", "body"))
    state = list(inputs)
    for _ in range(_TURNS):
        (goes_on,) = converter.run(condition, state)
        if goes_on.constant is None:
            return _Loop(converter, condition, body, state, goes_on).made()
        if not goes_on.constant:
            return state
        state = converter.run(body, state)
    raise Unsupported(f"a loop of more than {_TURNS} turns")


class _Loop:
    """ONNX's ``Loop`` of what changes from turn to turn; what does not is seen from inside."""

    def __init__(
        self, converter: "Converter", condition: Any, body: Any, state: list[Any], first: Value
    ) -> None:
        self.converter, self.builder = converter, converter.builder
        self.condition, self.body, self.state, self.first = condition, body, state, first
        self.changing = [k for k in range(len(state)) if not _returns(body, k)]
        if any(isinstance(state[k], TensorList) for k in self.changing):
            raise Unsupported("a list that grows in a loop of unknown end")

    def made(self) -> list[Any]:
        builder = self.builder
        shapes = [self.state[k].shape for k in self.changing]
        while True:
            graph, after = self._graph(shapes)
            wider = [_common(shape, value.shape) for shape, value in zip(shapes, after)]
            if [str(s) for s in wider] == [str(s) for s in shapes]:
                break
            shapes = wider
        starts = [builder.plain(self.state[k]) for k in self.changing]
        names = builder.node("Loop", "", builder.plain(self.first), *starts, outputs=len(starts), body=graph)
        results = list(self.state)
        for k, name, shape in zip(self.changing, names, shapes):
            results[k] = builder.value(name, shape, self.state[k].dtype)
        return results

    def _graph(self, shapes: list[tf.TensorShape]) -> tuple[Any, list[Value]]:
        """The body for a state of these shapes, and the state that it gives."""
        builder = self.builder
        turn, goes_on = builder.new_name("turn"), builder.new_name("goes_on")
        inputs = [builder.info(turn, tf.int64, []), builder.info(goes_on, tf.bool, [])]
        state = list(self.state)
        builder.open_scope()
        for k, shape in zip(self.changing, shapes):
            name, dtype = builder.new_name("state"), self.state[k].dtype
            inputs.append(builder.info(name, dtype, shape))
            state[k] = Value(shape, dtype, names={PLAIN: name}, scope=builder.scope)
        after = self.converter.run(self.body, state)
        (more,) = self.converter.run(self.condition, after)
        found = [more, *[after[k] for k in self.changing]]
        names = [builder.op("Identity", builder.plain(value)) for value in found]
        outputs = [builder.info(name, value.dtype, value.shape) for name, value in zip(names, found)]
        return builder.graph(builder.close_scope(), "turn", inputs, outputs), found[1:]


def _returns(body: Any, index: int) -> bool:
    """Whether a loop's body gives one of its arguments back as it is."""
    tensor = body.outputs[index]
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return bool(tensor.name == body.inputs[index].name)
