"""Ops that read and write at places."""

from typing import Any

import numpy as np
import tensorflow as tf

from kdet.export.nodes.builder import nchw_axis
from kdet.export.nodes.registry import Call, translates
from kdet.export.nodes.values import Maps, Result, Unsupported, Value

_LARGEST = np.iinfo(np.int64).max


def _element(call: Call, value: Value, index: int) -> Any:
    """One number of a vector: an int, or the name of an int64 ``[1]``."""
    if value.constant is not None:
        return int(value.constant[index])
    return call.builder.slice(call.builder.int64(value), 0, index, index + 1)


def _cut(call: Call, x: Value, pieces: list[tuple[int, Any, Any, int]]) -> Result:
    """Slices of axes: (axis, start, stop, step), of ints and of names of int64 ``[1]``."""
    builder, maps = call.builder, x.only_nchw
    name = builder.nchw(x) if maps else builder.plain(x)
    if pieces:
        axes = [nchw_axis(piece[0]) if maps else piece[0] for piece in pieces]
        starts, stops = (builder.shape([piece[k] for piece in pieces]) for k in (1, 2))
        name = builder.op("Slice", name, starts, stops, axes, [piece[3] for piece in pieces])
    return Maps(name) if maps else name


@translates("Slice")
def cut(call: Call) -> Result:
    builder, (x, begin, size) = call.builder, call.inputs
    pieces: list[tuple[int, Any, Any, int]] = []
    for axis, length in enumerate(x.sizes()):
        start, extent = _element(call, begin, axis), _element(call, size, axis)
        if start == 0 and extent in (-1, length):
            continue
        if extent == -1:
            stop: Any = _LARGEST
        elif isinstance(start, int) and isinstance(extent, int):
            stop = start + extent
        else:
            names = [
                value if isinstance(value, str) else builder.constant([value]) for value in (start, extent)
            ]
            stop = builder.op("Add", *names)
        pieces.append((axis, start, stop, 1))
    return _cut(call, x, pieces)


@translates("StridedSlice")
def strided_slice(call: Call) -> Result:
    x, begin, end, strides = call.inputs
    count = begin.sizes()[0]
    if count is None:
        raise Unsupported("a slice of an open number of axes")
    steps = [int(step) for step in strides.known("the steps of a slice")]
    masks = {
        kind: call.attribute(f"{kind}_mask")
        for kind in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }

    def has(kind: str, index: int) -> bool:
        return bool(masks[kind] >> index & 1)

    real = sum(not has("new_axis", k) and not has("ellipsis", k) for k in range(count))
    pieces: list[tuple[int, Any, Any, int]] = []
    picks: list[tuple[int, Any]] = []
    added: list[int] = []
    axis = place = 0
    for k in range(count):
        if has("ellipsis", k):
            axis, place = axis + x.rank - real, place + x.rank - real
        elif has("new_axis", k):
            added.append(place)
            place += 1
        elif has("shrink_axis", k):
            picks.append((axis, _element(call, begin, k)))
            axis += 1
        else:
            first = 0 if steps[k] > 0 else _LARGEST
            last = _LARGEST if steps[k] > 0 else -_LARGEST
            start = first if has("begin", k) else _element(call, begin, k)
            stop = last if has("end", k) else _element(call, end, k)
            if (start, steps[k]) != (0, 1) or stop not in (_LARGEST, x.sizes()[axis]):
                pieces.append((axis, start, stop, steps[k]))
            axis, place = axis + 1, place + 1
    result = _cut(call, x, pieces)
    if not picks and not added:
        return result
    builder = call.builder
    name = result if isinstance(result, str) else builder.transpose(result.name, 0, 2, 3, 1)
    for at, index in reversed(picks):
        number = builder.squeeze(index, 0) if isinstance(index, str) else np.asarray(index, np.int64)
        name = builder.op("Gather", name, number, axis=at)
    return builder.unsqueeze(name, *added) if added else name


@translates("GatherV2", "Gather", "ResourceGather")
def gather(call: Call) -> Result:
    builder, (x, indices, *rest) = call.builder, call.inputs
    axis = int(rest[0].known("an axis")) % x.rank if rest else 0
    batch = call.attribute("batch_dims") if call.op.type == "GatherV2" else 0
    batch = batch % max(indices.rank, 1) if batch < 0 else batch
    if batch == 0:
        if x.only_nchw and indices.rank == 1:
            return Maps(builder.op("Gather", builder.nchw(x), builder.plain(indices), axis=nchw_axis(axis)))
        return builder.op("Gather", builder.plain(x), builder.plain(indices), axis=axis)
    if x.sizes()[:batch] == [1] * batch == indices.sizes()[:batch]:
        squeezed = builder.squeeze(builder.plain(indices), *range(batch))
        return builder.op("Gather", builder.plain(x), squeezed, axis=axis)
    name, places = builder.plain(x), builder.unsqueeze(builder.int64(indices), -1)
    if axis == batch:
        return builder.op("GatherND", name, places, batch_dims=batch)
    order = [*range(batch), axis, *range(batch, axis), *range(axis + 1, x.rank)]
    found = builder.op("GatherND", builder.transpose(name, *order), places, batch_dims=batch)
    looked_up, between = indices.rank - batch, axis - batch
    middle = list(range(batch, batch + looked_up + between))
    middle = middle[looked_up:] + middle[:looked_up]
    rank = x.rank - 1 + looked_up
    return builder.transpose(found, *range(batch), *middle, *range(batch + looked_up + between, rank))


@translates("GatherNd")
def gather_nd(call: Call) -> Result:
    return call.builder.op("GatherND", call.plain(0), call.builder.int64(call.inputs[1]))


@translates("ScatterNd")
def scatter(call: Call) -> Result:
    builder, (indices, updates, shape) = call.builder, call.inputs
    zero = np.asarray(0, updates.dtype.as_numpy_dtype)
    empty = builder.op(
        "ConstantOfShape", builder.int64(shape), value=builder.onnx.numpy_helper.from_array(zero.reshape([1]))
    )
    return builder.op("ScatterND", empty, builder.int64(indices), builder.plain(updates), reduction="add")


@translates("TensorScatterUpdate", "TensorScatterAdd", "TensorScatterMax", "TensorScatterMin")
def scatter_into(call: Call) -> Result:
    kind = call.op.type.removeprefix("TensorScatter").lower()
    indices = call.builder.int64(call.inputs[1])
    reduction = {} if kind == "update" else {"reduction": kind}
    return call.builder.op("ScatterND", call.plain(0), indices, call.plain(2), **reduction)


@translates("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin")
def segments(call: Call) -> Result:
    builder, (x, groups, number) = call.builder, call.inputs
    count = int(number.known("the number of segments"))
    kind = {"Sum": "add", "Max": "max", "Min": "min"}[call.op.type.removeprefix("UnsortedSegment")]
    kinds = np.finfo if x.dtype.is_floating else np.iinfo
    limits = kinds(x.dtype.as_numpy_dtype)
    start = np.asarray({"add": 0, "max": limits.min, "min": limits.max}[kind], x.dtype.as_numpy_dtype)
    places = builder.int64(groups)
    outside = builder.op("Less", places, np.asarray(0, np.int64))
    places = builder.op("Where", outside, np.asarray(count, np.int64), places)  # one more, cut off at the end
    sizes = [count + 1, *builder.sizes(x)[groups.rank :]]
    filled = builder.filled(start, sizes)
    made = builder.op("ScatterND", filled, builder.unsqueeze(places, -1), builder.plain(x), reduction=kind)
    return builder.slice(made, 0, 0, count)


@translates("Where")
def places(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    return builder.transpose(builder.op("NonZero", builder.plain(x)), 1, 0)


@translates("OneHot")
def one_hot(call: Call) -> Result:
    builder, (indices, depth, on, off) = call.builder, call.inputs
    count = int(depth.known("the depth of a one-hot code"))
    axis = call.attribute("axis") % (indices.rank + 1)
    shape = [count if k == axis else 1 for k in range(indices.rank + 1)]
    numbers = np.arange(count, dtype=indices.dtype.as_numpy_dtype).reshape(shape)
    hit = builder.op("Equal", builder.unsqueeze(builder.plain(indices), axis), numbers)
    if call.dtype == tf.bool:
        if on.constant is None or off.constant is None or not on.constant or off.constant:
            raise Unsupported("a one-hot code of computed truths")
        return hit
    return builder.op("Where", hit, builder.plain(on), builder.plain(off))
