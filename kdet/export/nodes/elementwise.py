"""Ops that compute every element on its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.export.nodes.builder import Builder
from kdet.export.nodes.registry import Call, translates
from kdet.export.nodes.values import TO_NCHW, Maps, Result, Value

UNARY = {
    "Abs": "Abs",
    "Ceil": "Ceil",
    "Cos": "Cos",
    "Elu": "Elu",
    "Erf": "Erf",
    "Exp": "Exp",
    "Floor": "Floor",
    "Inv": "Reciprocal",
    "IsNan": "IsNaN",
    "Log": "Log",
    "LogicalNot": "Not",
    "Neg": "Neg",
    "Reciprocal": "Reciprocal",
    "Relu": "Relu",
    "Rint": "Round",
    "Round": "Round",
    "Sigmoid": "Sigmoid",
    "Sign": "Sign",
    "Sin": "Sin",
    "Softplus": "Softplus",
    "Sqrt": "Sqrt",
    "Tanh": "Tanh",
}
BINARY = {
    "Add": "Add",
    "AddV2": "Add",
    "BiasAdd": "Add",
    "Equal": "Equal",
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less",
    "LessEqual": "LessOrEqual",
    "LogicalAnd": "And",
    "LogicalOr": "Or",
    "Maximum": "Max",
    "Minimum": "Min",
    "Mul": "Mul",
    "Pow": "Pow",
    "RealDiv": "Div",
    "Sub": "Sub",
}


def elementwise(call: Call, make: Callable[..., str]) -> Result:
    """The result of ``make(names of the inputs)``, on maps in the layout that they are in."""
    builder, inputs = call.builder, call.inputs
    if any(value.only_nchw for value in inputs) and all(map(_fits_nchw, inputs)):
        return Maps(make(*[_nchw_operand(builder, value) for value in inputs]))
    return make(*[builder.plain(value) for value in inputs])


def _fits_nchw(value: Value) -> bool:
    """Whether a value broadcasts against ``[B,C,H,W]`` without a transposition of its own at run time."""
    rank = value.shape.rank
    if rank == 4:
        return value.only_nchw or value.constant is not None or value.shape.num_elements() == 1
    return rank == 0 or (rank is not None and rank < 4 and value.constant is not None)


def _nchw_operand(builder: Builder, value: Value) -> str:
    if value.rank == 4:
        return builder.nchw(value)
    if value.rank == 0:
        return builder.plain(value)
    array = value.known("an operand")
    return builder.constant(np.transpose(array.reshape([1] * (4 - array.ndim) + list(array.shape)), TO_NCHW))


@translates(*UNARY)
def unary(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op(UNARY[call.op.type], x))


@translates(*BINARY)
def binary(call: Call) -> Result:
    return elementwise(call, lambda *x: call.builder.op(BINARY[call.op.type], *x))


def _typed(call: Call, number: Any) -> Any:
    """A number in the type of the first input, as a NumPy scalar."""
    return np.asarray(number, call.inputs[0].dtype.as_numpy_dtype)


@translates("NotEqual")
def not_equal(call: Call) -> Result:
    return elementwise(call, lambda a, b: call.builder.op("Not", call.builder.op("Equal", a, b)))


@translates("Relu6")
def relu6(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op("Clip", x, _typed(call, 0), _typed(call, 6)))


@translates("ClipByValue")
def clip(call: Call) -> Result:
    def make(x: str, low: str, high: str) -> str:
        return call.builder.op("Min", call.builder.op("Max", x, low), high)

    return elementwise(call, make)


@translates("LeakyRelu")
def leaky_relu(call: Call) -> Result:
    alpha = call.attribute("alpha")
    return elementwise(call, lambda x: call.builder.op("LeakyRelu", x, alpha=alpha))


@translates("Square")
def square(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op("Mul", x, x))


@translates("Rsqrt")
def rsqrt(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op("Reciprocal", call.builder.op("Sqrt", x)))


@translates("Log1p")
def log1p(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op("Log", call.builder.op("Add", x, _typed(call, 1))))


@translates("Expm1")
def expm1(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.op("Sub", call.builder.op("Exp", x), _typed(call, 1)))


@translates("SquaredDifference")
def squared_difference(call: Call) -> Result:
    def make(a: str, b: str) -> str:
        difference = call.builder.op("Sub", a, b)
        return call.builder.op("Mul", difference, difference)

    return elementwise(call, make)


@translates("DivNoNan")
def division_without_nan(call: Call) -> Result:
    def make(a: str, b: str) -> str:
        none = call.builder.op("Equal", b, _typed(call, 0))
        quotient = call.builder.op("Div", a, call.builder.op("Where", none, _typed(call, 1), b))
        return call.builder.op("Where", none, _typed(call, 0), quotient)

    return elementwise(call, make)


@translates("IsInf")
def is_infinite(call: Call) -> Result:
    return elementwise(call, lambda x: _is_infinite(call.builder, x))


def _is_infinite(builder: Builder, name: str) -> str:
    return builder.op("Equal", builder.op("Abs", name), np.float32(np.inf))


@translates("IsFinite")
def is_finite(call: Call) -> Result:
    def make(x: str) -> str:
        # NaN is in no relation to a number
        return call.builder.op("Less", call.builder.op("Abs", x), _typed(call, np.inf))

    return elementwise(call, make)


@translates("FloorDiv", "Div", "TruncateDiv")
def division(call: Call) -> Result:
    """Of whole numbers: ONNX rounds towards zero, ``FloorDiv`` down."""
    builder = call.builder

    def make(a: str, b: str) -> str:
        if call.op.type != "FloorDiv":
            return builder.op("Div", a, b)
        if call.dtype.is_floating:
            return builder.op("Floor", builder.op("Div", a, b))
        return builder.op("Div", builder.op("Sub", a, builder.op("Mod", a, b)), b)

    return elementwise(call, make)


@translates("FloorMod")
def remainder(call: Call) -> Result:
    builder = call.builder

    def make(a: str, b: str) -> str:
        if not call.dtype.is_floating:
            return builder.op("Mod", a, b)
        return builder.op("Sub", a, builder.op("Mul", b, builder.op("Floor", builder.op("Div", a, b))))

    return elementwise(call, make)


@translates("AddN")
def add_n(call: Call) -> Result:
    return elementwise(call, lambda *x: call.builder.op("Sum", *x))


@translates("Cast")
def cast(call: Call) -> Result:
    return elementwise(call, lambda x: call.builder.cast(x, call.dtype))


@translates("SelectV2", "Select")
def select(call: Call) -> Result:
    condition, chosen, other = call.inputs
    if call.op.type == "Select" and condition.rank == 1 and chosen.rank > 1:
        name = call.builder.unsqueeze(call.builder.plain(condition), *range(1, chosen.rank))
        return _where(call, name, call.plain(1), call.plain(2))
    return elementwise(call, lambda *names: _where(call, *names))


def _where(call: Call, condition: str, chosen: str, other: str) -> str:
    builder = call.builder
    if call.dtype != tf.bool:
        return builder.op("Where", condition, chosen, other)
    without = builder.op("And", builder.op("Not", condition), other)
    return builder.op("Or", builder.op("And", condition, chosen), without)


@translates("ZerosLike", "OnesLike")
def alike(call: Call) -> Result:
    builder = call.builder
    value = np.asarray(call.op.type == "OnesLike", call.dtype.as_numpy_dtype)
    return builder.filled(value, builder.sizes(call.inputs[0]))
