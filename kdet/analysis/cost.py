"""What a model costs: parameters, multiply-adds and activations, counted in its graph.

Counted are convolutions and matrix products of the whole detector, suppression and all, in the portable form
of the ops. Papers on detection call multiply-adds "FLOPs"; a processor does two operations for each.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from kdet.detectors import Detector
from kdet.export.program import Program
from kdet.typing import Pair

# ops whose bodies are not unrolled: how often they run is not known before
_LOOPS = ("While", "StatelessWhile")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_STATES = ("moving_mean", "moving_variance", "seed_generator_state")


@dataclasses.dataclass
class Cost:
    """What one image costs.

    Attributes:
        size: (h, w) of the network's input.
        parameters: trainable numbers and those of frozen layers, statistics of norms left out.
        multiply_adds: of convolutions and matrix products.
        activations: numbers that these produce.
        by_part: multiply-adds of the backbone, the neck and so on, by the layer's name.
        in_loops: contractions inside of loops, which are counted once.
    """

    size: Pair
    parameters: int
    multiply_adds: int
    activations: int
    by_part: dict[str, int]
    in_loops: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations, two for each multiply-add."""
        return 2 * self.multiply_adds

    def lines(self) -> list[str]:
        """The figures for people."""
        text = [
            f"input         {self.size[0]}x{self.size[1]} (h x w)",
            f"parameters    {self.parameters / 1e6:.2f} M",
            f"FLOPs         {self.multiply_adds / 1e9:.1f} G multiply-adds (what papers call FLOPs), "
            f"{self.flops / 1e9:.1f} G operations",
            f"activations   {self.activations / 1e6:.1f} M",
        ]
        parts = sorted(self.by_part.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {count / 1e9:.1f} G" for name, count in parts if count >= 5e7)
        return [*text, f"by part       {shown}"] if shown else text


def cost(model: Detector, size: Pair = (800, 1280), proposals: int = 1000) -> Cost:
    """Counts what an image of one size costs.

    Args:
        model: the detector; its weights do not matter.
        size: (h, w) of the network's input.
        proposals: boxes of an image, where the model takes them (Fast R-CNN).

    Raises:
        kdet.export.program.ExportError: the model cannot be traced for that size.
    """
    traced = Program(model, "portable").on_canvas(*size, batch=1, proposals=proposals)
    counts = count(traced)
    # statistics of norms and states of random numbers are no parameters
    kept = [v for v in model.weights if not v.path.endswith(_STATES)]
    parameters = sum(math.prod(v.shape) for v in kept)
    return Cost(size, parameters, counts.multiply_adds, counts.activations, counts.by_part, counts.in_loops)


@dataclasses.dataclass
class Counts:
    """What the contractions of a graph do; the fields are those of :class:`Cost`."""

    multiply_adds: int = 0
    activations: int = 0
    by_part: dict[str, int] = dataclasses.field(default_factory=dict)
    in_loops: int = 0


def count(traced: Any) -> Counts:
    """Counts in a ``ConcreteFunction``; a dimension that is open counts as one."""
    definition = traced.graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in definition.library.function}
    found = Counts()
    for node, shapes, name, in_loop in _contractions(definition.node, {}, functions):
        number = _multiply_adds(node, shapes)
        found.multiply_adds += number
        found.activations += _size(_output(node))
        found.in_loops += in_loop
        part = _part(name)
        found.by_part[part] = found.by_part.get(part, 0) + number
    return found


def _contractions(
    nodes: Any, arguments: dict[str, Any], functions: dict[str, Any], name: str = "", in_loop: bool = False
) -> Iterator[tuple[Any, list[list[int]], str, bool]]:
    """``(node, shapes of its inputs, name, whether in a loop)`` of every convolution and product."""
    shapes = dict(arguments)
    for node in nodes:
        for position, shape in enumerate(_outputs(node)):
            shapes[f"{node.name}:{position}"] = shape
        shapes[node.name] = shapes.get(f"{node.name}:0")
    for node in nodes:
        inputs = [_known(shapes, one) for one in node.input if not one.startswith("^")]
        if node.op in _COUNTERS:
            yield node, inputs, f"{name}/{node.name}" if name else node.name, in_loop
        called = []
        if node.op in _CALLS:
            called = [node.attr["f"].func.name]
        elif node.op in _LOOPS:
            called = [node.attr["body"].func.name]
        for function in called:
            inner = functions[function]
            own = {a.name: s for a, s in zip(inner.signature.input_arg, inputs, strict=False)}
            looped = in_loop or node.op in _LOOPS
            yield from _contractions(inner.node_def, own, functions, node.name, looped)


def _known(shapes: dict[str, Any], name: str) -> Any:
    """The shape of an input: ``node``, ``node:0``, or inside functions ``node:output:0``."""
    if name in shapes:
        return shapes[name]
    parts = name.split(":")
    return shapes.get(f"{parts[0]}:{parts[-1]}" if len(parts) > 1 else parts[0], shapes.get(parts[0]))


def _outputs(node: Any) -> list[Any]:
    return [
        None if shape.unknown_rank else [dim.size for dim in shape.dim]
        for shape in node.attr["_output_shapes"].list.shape
    ]


def _output(node: Any) -> Any:
    found = _outputs(node)
    return found[0] if found else None


def _size(shape: Any) -> int:
    """Numbers in a tensor; an open dimension counts as one."""
    return math.prod(max(side, 1) for side in shape) if shape is not None else 0


def _convolution(node: Any, shapes: list[Any]) -> int:
    # every output is a sum over window and channels of its group
    height, width, channels, _ = shapes[1]
    return _size(_output(node)) * height * width * channels


def _depthwise(node: Any, shapes: list[Any]) -> int:
    height, width, _, _ = shapes[1]
    return _size(_output(node)) * height * width


def _transposed(node: Any, shapes: list[Any]) -> int:
    # every input goes into window times output channels
    height, width, channels, _ = shapes[1]
    return _size(shapes[2]) * height * width * channels


def _matmul(node: Any, shapes: list[Any]) -> int:
    inner = shapes[0][0 if node.attr["transpose_a"].b else 1]
    return _size(_output(node)) * max(inner, 1)


def _batched(node: Any, shapes: list[Any]) -> int:
    inner = shapes[0][-2 if node.attr["adj_x"].b else -1]
    return _size(_output(node)) * max(inner, 1)


def _einsum(node: Any, shapes: list[Any]) -> int:
    equation = node.attr["equation"].s.decode()
    sides: dict[str, int] = {}
    for letters, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        plain = letters.replace("...", "")
        if shape is not None:
            sides.update(zip(plain, shape[len(shape) - len(plain) :], strict=True))
            if "..." in letters:
                sides["..."] = _size(shape[: len(shape) - len(plain)])
    return math.prod(max(side, 1) for side in sides.values())


_COUNTERS = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "MatMul": _matmul,
    "BatchMatMul": _batched,
    "BatchMatMulV2": _batched,
    "Einsum": _einsum,
}


def _multiply_adds(node: Any, shapes: list[Any]) -> int:
    return int(_COUNTERS[node.op](node, shapes))


def _part(name: str) -> str:
    """The part of the detector that an op's name scope names."""
    words = name.split("/")
    return words[1] if len(words) > 2 else words[0]
