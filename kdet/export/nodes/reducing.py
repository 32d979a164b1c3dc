"""Ops that make one number of many, and those that look along an axis."""

import numpy as np
import tensorflow as tf

from kdet.export.nodes.builder import nchw_axis
from kdet.export.nodes.registry import Call, translates
from kdet.export.nodes.values import Maps, Result

REDUCTIONS = {
    "All": "ReduceMin",
    "Any": "ReduceMax",
    "Max": "ReduceMax",
    "Mean": "ReduceMean",
    "Min": "ReduceMin",
    "Prod": "ReduceProd",
    "Sum": "ReduceSum",
}


@translates(*REDUCTIONS)
def reduction(call: Call) -> Result:
    builder, (x, axis) = call.builder, call.inputs
    axes = sorted({int(a) % max(x.rank, 1) for a in np.ravel(axis.known("an axis"))})
    keep = bool(call.attribute("keep_dims"))
    if not axes:
        return builder.plain(x)

    def make(name: str, axes: list[int]) -> str:
        if call.dtype == tf.bool:
            name = builder.cast(name, tf.int32)
        made = builder.op(REDUCTIONS[call.op.type], name, axes, keepdims=int(keep))
        return builder.cast(made, tf.bool) if call.dtype == tf.bool else made

    # without the sides, what is left is in the same order in both layouts
    if x.only_nchw and (keep or axes in ([1, 2], [1, 2, 3], [0, 1, 2, 3])):
        made = make(builder.nchw(x), sorted(map(nchw_axis, axes)))
        return Maps(made) if keep else made
    return make(builder.plain(x), axes)


@translates("ArgMax", "ArgMin")
def extreme_index(call: Call) -> Result:
    axis = int(call.inputs[1].known("an axis"))
    name = call.plain(0)
    if call.inputs[0].dtype == tf.bool:
        name = call.builder.int32(name)
    found = call.builder.op(call.op.type, name, axis=axis % call.inputs[0].rank, keepdims=0)
    return found if call.dtype == tf.int64 else call.builder.cast(found, call.dtype)


@translates("Softmax", "LogSoftmax")
def softmax(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    if x.only_nchw:
        return Maps(builder.op(call.op.type, builder.nchw(x), axis=1))
    return builder.op(call.op.type, builder.plain(x), axis=x.rank - 1)


@translates("Cumsum")
def running_sum(call: Call) -> Result:
    axis = int(call.inputs[1].known("an axis"))
    return call.builder.op(
        "CumSum",
        call.plain(0),
        np.asarray(axis % call.inputs[0].rank, np.int64),
        exclusive=int(call.attribute("exclusive")),
        reverse=int(call.attribute("reverse")),
    )


@translates("TopKV2")
def top_k(call: Call) -> list[Result]:
    builder = call.builder
    count = builder.reshape(builder.int64(call.inputs[1]), [1])
    values, indices = builder.node("TopK", call.plain(0), count, outputs=2, axis=-1)
    return [values, builder.cast(indices, call.outputs[1].dtype)]


@translates("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def product(call: Call) -> Result:
    builder, names = call.builder, list[str]()
    flags = ("transpose_a", "transpose_b") if call.op.type == "MatMul" else ("adj_x", "adj_y")
    for value, flag in zip(call.inputs, flags):
        constant, rank = value.constant, value.rank
        name = builder.plain(value) if constant is None else builder.weight(constant)
        if call.attribute(flag):
            name = builder.transpose(name, *range(rank - 2), rank - 1, rank - 2)
        names.append(name)
    return builder.op("MatMul", *names)


@translates("Einsum")
def einsum(call: Call) -> Result:
    names = [call.builder.plain(value) for value in call.inputs]
    return call.builder.op("Einsum", *names, equation=call.attribute("equation").decode())
