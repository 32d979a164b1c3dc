"""Ops that move elements and leave them as they are."""

from typing import Any

import numpy as np

from kdet.export.nodes.builder import as_nchw, nchw_axis
from kdet.export.nodes.registry import Call, translates
from kdet.export.nodes.values import Maps, Result, Unsupported, Value


@translates("Shape", "ShapeN")
def shape(call: Call) -> list[Result]:
    return [_as_index(call, call.builder.shape(call.builder.sizes(value))) for value in call.inputs]


@translates("Size")
def size(call: Call) -> Result:
    return _as_index(call, call.builder.op("Size", call.plain(0)))


def _as_index(call: Call, name: str) -> str:
    """An int64 in the type of the output."""
    dtype = call.dtype
    return name if dtype.name == "int64" else call.builder.cast(name, dtype)


def target(call: Call, wanted: Value) -> str:
    """The shape of the first output as int64: what TensorFlow infers, or else the argument ``wanted``."""
    builder = call.builder
    if wanted.constant is not None:
        return builder.int64(wanted)
    known = call.outputs[0].shape
    if known.rank is not None:
        sizes = list(known)
        if None not in sizes:
            return builder.shape(sizes)
    return builder.int64(wanted)


@translates("Reshape")
def reshape(call: Call) -> Result:
    builder, known = call.builder, call.outputs[0].shape
    zero = 0
    if known.rank is not None and list(known).count(None) <= 1 and 0 not in list(known):
        sizes = builder.shape([-1 if one is None else one for one in known])
    else:
        zero = 1
        sizes = target(call, call.inputs[1])
    return builder.op("Reshape", call.plain(0), sizes, allowzero=zero)


@translates("ExpandDims")
def expand(call: Call) -> Result:
    axis = int(np.ravel(call.inputs[1].known("an axis"))[0])
    return call.builder.unsqueeze(call.plain(0), axis % (call.inputs[0].rank + 1))


@translates("Squeeze")
def squeeze(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    axes = [axis % x.rank for axis in call.attribute("squeeze_dims")]
    axes = axes or [axis for axis, length in enumerate(x.sizes()) if length == 1]
    if x.only_nchw and sorted(axes) == [1, 2]:
        return builder.squeeze(builder.nchw(x), 2, 3)
    return builder.squeeze(builder.plain(x), *axes) if axes else builder.plain(x)


@translates("Transpose")
def transpose(call: Call) -> Result:
    builder, (x, order) = call.builder, call.inputs
    axes = [int(axis) for axis in order.known("an order of axes")]
    if x.only_nchw:
        axes = [nchw_axis(axis) for axis in axes]
        if axes == sorted(axes):
            return builder.nchw(x)
        return builder.transpose(builder.nchw(x), *axes)
    return builder.transpose(builder.plain(x), *axes)


@translates("ConcatV2")
def concat(call: Call) -> Result:
    builder, (*parts, last) = call.builder, call.inputs
    axis = int(last.known("an axis")) % parts[0].rank
    parts = [part for part in parts if 0 not in part.sizes()] or parts[:1]
    maps = [part.only_nchw for part in parts]
    if any(maps) and all(flag or part.constant is not None for flag, part in zip(maps, parts)):
        return Maps(builder.op("Concat", *map(builder.nchw, parts), axis=nchw_axis(axis)))
    return builder.op("Concat", *map(builder.plain, parts), axis=axis)


@translates("Pack")
def pack(call: Call) -> Result:
    return stacked(call, call.inputs, call.attribute("axis"))


def stacked(call: Call, values: list[Value], axis: int) -> str:
    """Values of one shape along a new axis."""
    builder = call.builder
    axis = axis % (values[0].rank + 1)
    names = [builder.unsqueeze(builder.plain(value), axis) for value in values]
    return builder.op("Concat", *names, axis=axis) if len(names) > 1 else names[0]


@translates("Unpack")
def unpack(call: Call) -> list[Result]:
    builder, x = call.builder, call.inputs[0]
    count, axis = call.attribute("num"), call.attribute("axis") % x.rank
    if count == 1:
        return [builder.squeeze(builder.plain(x), axis)]
    parts = builder.node("Split", builder.plain(x), outputs=count, axis=axis, num_outputs=count)
    return [builder.squeeze(part, axis) for part in parts]


@translates("Split")
def split(call: Call) -> list[Result]:
    axis = int(call.inputs[0].known("an axis"))
    return _split(call, call.inputs[1], axis, None, call.attribute("num_split"))


@translates("SplitV")
def split_sizes(call: Call) -> list[Result]:
    x, sizes, axis = call.inputs
    known = [int(part) for part in sizes.known("the sizes of a split")]
    whole = x.sizes()[int(axis.known("an axis"))]
    if -1 in known and whole is not None:
        known[known.index(-1)] = whole - sum(known) - 1
    if -1 in known:
        raise Unsupported("a split of an open dimension")
    return _split(call, x, int(axis.known("an axis")), known, len(known))


def _split(call: Call, x: Value, axis: int, sizes: list[int] | None, count: int) -> list[Result]:
    builder, axis = call.builder, axis % x.rank
    maps = x.only_nchw
    name = builder.nchw(x) if maps else builder.plain(x)
    if count == 1:
        return [Maps(name) if maps else name]
    axis = nchw_axis(axis) if maps else axis
    if sizes is None:
        parts = builder.node("Split", name, outputs=count, axis=axis, num_outputs=count)
    else:
        parts = builder.node("Split", name, sizes, outputs=count, axis=axis)
    return [Maps(part) if maps else part for part in parts]


@translates("Tile")
def tile(call: Call) -> Result:
    builder, (x, times) = call.builder, call.inputs
    if x.only_nchw and times.constant is not None:
        return Maps(builder.op("Tile", builder.nchw(x), as_nchw([int(n) for n in times.constant])))
    return builder.op("Tile", builder.plain(x), builder.int64(times))


@translates("BroadcastTo")
def broadcast(call: Call) -> Result:
    return call.builder.op("Expand", call.plain(0), target(call, call.inputs[1]))


@translates("Fill")
def fill(call: Call) -> Result:
    builder, (_, value) = call.builder, call.inputs
    sizes = target(call, call.inputs[0])
    if value.constant is None:
        return builder.op("Expand", builder.plain(value), sizes)
    tensor = builder.onnx.numpy_helper.from_array(value.constant.reshape([1]))
    return builder.op("ConstantOfShape", sizes, value=tensor)


@translates("Range")
def number_range(call: Call) -> Result:
    return call.builder.op("Range", *[call.plain(index) for index in range(3)])


@translates("Pad", "PadV2", "MirrorPad")
def pad(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    filler: list[Any] = []
    if call.op.type == "PadV2":
        filler = [call.plain(2)]
    elif x.dtype.is_floating is False and call.op.type == "Pad":
        filler = [np.asarray(0, x.dtype.as_numpy_dtype)]
    mode = "constant"
    if call.op.type == "MirrorPad":
        if call.attribute("mode") != b"REFLECT":
            raise Unsupported("symmetric padding")
        mode = "reflect"
    pads = call.inputs[1]
    if pads.constant is not None:
        pairs = [[int(n) for n in pair] for pair in pads.constant]
        if x.only_nchw:
            around = [n for side in zip(*as_nchw(pairs)) for n in side]
            return Maps(builder.op("Pad", builder.nchw(x), around, *filler, mode=mode))
        return builder.op(
            "Pad", builder.plain(x), [n for side in zip(*pairs) for n in side], *filler, mode=mode
        )
    around_name = builder.reshape(builder.transpose(builder.int64(pads), 1, 0), [2 * x.rank])
    return builder.op("Pad", builder.plain(x), around_name, *filler, mode=mode)


@translates("ReverseV2")
def reverse(call: Call) -> Result:
    builder, (x, axis) = call.builder, call.inputs
    name = builder.plain(x)
    for one in np.ravel(axis.known("an axis")):
        name = builder.op("Slice", name, [-1], [np.iinfo(np.int64).min], [int(one) % x.rank], [-1])
    return name


@translates("Roll")
def roll(call: Call) -> Result:
    builder, (x, shift, axis) = call.builder, call.inputs
    axes = [int(n) % x.rank for n in np.ravel(axis.known("an axis"))]
    steps = [int(n) for n in np.ravel(shift.known("a shift"))]
    maps = x.only_nchw
    name = builder.nchw(x) if maps else builder.plain(x)
    for step, one in zip(steps, axes):
        length, place = x.sizes()[one], nchw_axis(one) if maps else one
        if length is None:
            raise Unsupported("a roll of an open dimension")
        cut = (-step) % length
        if cut:
            parts = builder.slice(name, place, cut), builder.slice(name, place, 0, cut)
            name = builder.op("Concat", *parts, axis=place)
    return Maps(name) if maps else name


@translates("DepthToSpace", "SpaceToDepth")
def regroup(call: Call) -> Result:
    builder, block = call.builder, call.attribute("block_size")
    name = builder.nchw(call.inputs[0])
    if call.op.type == "DepthToSpace":
        return Maps(builder.op("DepthToSpace", name, blocksize=block, mode="DCR"))
    return Maps(builder.op("SpaceToDepth", name, blocksize=block))


@translates("SpaceToBatchND")
def space_to_batch(call: Call) -> Result:
    builder, (x, blocks, pads) = call.builder, call.inputs
    (down, across), name = [int(n) for n in blocks.known("a block")], builder.plain(x)
    pairs = [[0, 0], *pads.known("paddings").tolist(), [0, 0]]
    name = builder.op("Pad", name, [int(n) for side in zip(*pairs) for n in side])
    height, width = _padded(call, x, pairs)
    channels = x.sizes()[3]
    batch = builder.sizes(x)[0]
    name = builder.reshape(name, [batch, height // down, down, width // across, across, channels])
    name = builder.transpose(name, 2, 4, 0, 1, 3, 5)
    return builder.reshape(name, [-1, height // down, width // across, channels])


def _padded(call: Call, x: Value, pairs: list[list[int]]) -> tuple[int, int]:
    height, width = x.sizes()[1:3]
    if height is None or width is None:
        raise Unsupported("dilated depthwise convolution of an open size")
    return height + sum(pairs[1]), width + sum(pairs[2])


@translates("BatchToSpaceND")
def batch_to_space(call: Call) -> Result:
    builder, (x, blocks, crops) = call.builder, call.inputs
    down, across = [int(n) for n in blocks.known("a block")]
    (top, bottom), (left, right) = crops.known("crops").tolist()
    _, height, width, channels = x.sizes()
    if height is None or width is None:
        raise Unsupported("dilated depthwise convolution of an open size")
    name = builder.reshape(builder.plain(x), [down, across, -1, height, width, channels])
    name = builder.transpose(name, 2, 3, 0, 4, 1, 5)
    name = builder.reshape(name, [-1, height * down, width * across, channels])
    name = builder.slice(name, 1, top, height * down - bottom)
    return builder.slice(name, 2, left, width * across - right)


@translates("InvertPermutation")
def inverse(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    name = builder.int64(x)
    count = builder.sizes(x)[0]
    length = builder.squeeze(count, 0) if isinstance(count, str) else np.asarray(count, np.int64)
    places = builder.op("Range", np.asarray(0, np.int64), length, np.asarray(1, np.int64))
    made = builder.op("ScatterElements", name, name, places, axis=0)
    return _as_index(call, made)
