"""Convolution, pooling and resizing of maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.export.nodes.registry import Call, translates
from kdet.export.nodes.values import Maps, Result, Unsupported, Value


def _attribute_pairs(call: Call, *names: str) -> list[list[int]]:
    """(y, x) of attributes that TensorFlow keeps per axis of a map."""
    if call.attribute("data_format") != b"NHWC":
        raise Unsupported("maps whose channels come first")
    return [[int(n) for n in call.attribute(name)[1:3]] for name in names]


def _padding(
    call: Call, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """Padding as ONNX's attributes."""
    kind = call.attribute("padding").decode()
    if kind == "VALID":
        return {}
    if kind == "EXPLICIT":
        top, bottom, left, right = call.attribute("explicit_paddings")[2:6]
        return {"pads": [top, left, bottom, right]}
    before, after = list[int](), list[int]()
    for length, side, stride, dilation in zip(x.sizes()[1:3], kernel, strides, dilations):
        reach = (side - 1) * dilation + 1
        if length is None and stride > 1:
            return {"auto_pad": "SAME_UPPER"}
        windows = 1 if length is None else -(-length // stride)
        missing = max((windows - 1) * stride + reach - (1 if length is None else length), 0)
        before.append(missing // 2)
        after.append(missing - missing // 2)
    return {"pads": before + after}


@translates("Conv2D")
def convolution(call: Call) -> Result:
    builder, (x, kernel) = call.builder, call.inputs
    strides, dilations = _attribute_pairs(call, "strides", "dilations")
    channels, width = x.sizes()[3], kernel.sizes()[2]
    if channels is None or width is None:
        raise Unsupported("a convolution of an open number of channels")
    return Maps(
        builder.op(
            "Conv",
            builder.nchw(x),
            _reordered(call, kernel, (3, 2, 0, 1)),
            strides=strides,
            dilations=dilations,
            kernel_shape=_sides(kernel),
            group=channels // width,
            **_padding(call, x, _sides(kernel), strides, dilations),
        )
    )


def _sides(kernel: Value) -> list[int]:
    sides = kernel.sizes()[:2]
    return [int(side) for side in sides if side is not None]


def _reordered(call: Call, kernel: Value, order: Sequence[int]) -> str:
    """A kernel with its axes in another order."""
    if kernel.constant is not None:
        return call.builder.weight(np.transpose(kernel.constant, order))
    return call.builder.transpose(call.builder.plain(kernel), *order)


@translates("DepthwiseConv2dNative")
def depthwise(call: Call) -> Result:
    builder, (x, kernel) = call.builder, call.inputs
    strides, dilations = _attribute_pairs(call, "strides", "dilations")
    height, width, channels, times = kernel.sizes()
    if channels is None or times is None:
        raise Unsupported("a convolution of an open number of channels")
    if kernel.constant is not None:
        turned = np.transpose(kernel.constant, (2, 3, 0, 1))
        name = builder.weight(turned.reshape([channels * times, 1, *turned.shape[2:]]))
    else:
        name = _reordered(call, kernel, (2, 3, 0, 1))
        name = builder.reshape(name, [channels * times, 1, height, width])
    return Maps(
        builder.op(
            "Conv",
            builder.nchw(x),
            name,
            strides=strides,
            dilations=dilations,
            kernel_shape=_sides(kernel),
            group=channels,
            **_padding(call, x, _sides(kernel), strides, dilations),
        )
    )


@translates("Conv2DBackpropInput")
def transposed_convolution(call: Call) -> Result:
    """The transposed convolution of the third input."""
    builder, (_, kernel, x) = call.builder, call.inputs
    strides, dilations = _attribute_pairs(call, "strides", "dilations")
    given = call.attribute("explicit_paddings")[2:6]
    pads: dict[str, list[int]] = {"before": [], "after": [], "more": []}
    sides, sizes, made = _sides(kernel), x.sizes()[1:3], call.shape[1:3]
    for axis in (0, 1):
        reach = (sides[axis] - 1) * dilations[axis] + 1
        size, length = sizes[axis], made[axis]
        cut = max(reach - strides[axis], 0) if call.attribute("padding") == b"SAME" else sum(
            given[2 * axis : 2 * axis + 2]
        )  # fmt: skip
        if size is not None and length is not None:
            cut = (size - 1) * strides[axis] + reach - length
        first = given[2 * axis] if call.attribute("padding") == b"EXPLICIT" else 0
        first = max(cut, 0) // 2 if call.attribute("padding") == b"SAME" else first
        pads["before"].append(first)
        pads["after"].append(max(cut - first, 0))
        pads["more"].append(max(first - cut, 0))
    return Maps(
        builder.op(
            "ConvTranspose",
            builder.nchw(x),
            _reordered(call, kernel, (3, 2, 0, 1)),
            strides=strides,
            dilations=dilations,
            kernel_shape=sides,
            pads=pads["before"] + pads["after"],
            output_padding=pads["more"],
        )
    )


@translates("FusedBatchNormV3")
def batch_norm(call: Call) -> list[Result]:
    """A norm under its running statistics, which come out as they went in."""
    builder, (x, *weights) = call.builder, call.inputs
    _attribute_pairs(call)
    if call.attribute("is_training"):
        raise Unsupported("a batch norm over the statistics of the batch")
    names = [builder.plain(weight) for weight in weights]
    epsilon = float(call.attribute("epsilon"))
    normed = Maps(builder.op("BatchNormalization", builder.nchw(x), *names, epsilon=epsilon))
    mean, variance = names[2:]
    return [normed, mean, variance, mean, variance, variance]


@translates("MaxPool", "AvgPool")
def pooling(call: Call) -> Result:
    builder, x = call.builder, call.inputs[0]
    sides, strides = _attribute_pairs(call, "ksize", "strides")
    padding = _padding(call, x, sides, strides, [1, 1])
    kind = {"MaxPool": "MaxPool", "AvgPool": "AveragePool"}[call.op.type]
    return Maps(builder.op(kind, builder.nchw(x), kernel_shape=sides, strides=strides, **padding))


@translates("ResizeBilinear", "ResizeNearestNeighbor")
def resize(call: Call) -> Result:
    builder, (x, size) = call.builder, call.inputs
    name = builder.nchw(x)
    if call.op.type == "ResizeBilinear" and not x.dtype.is_floating:
        name = builder.cast(name, call.dtype)
    places = "asymmetric"
    if call.attribute("align_corners"):
        places = "align_corners"
    elif call.attribute("half_pixel_centers"):
        places = "half_pixel"
    how: dict[str, Any] = {"mode": "linear"}
    if call.op.type == "ResizeNearestNeighbor":
        nearest = "floor" if places == "asymmetric" else "round_prefer_ceil"
        how = {"mode": "nearest", "nearest_mode": nearest}
    batch, *_, channels = builder.sizes(x)
    if size.constant is not None:
        height, width = (int(n) for n in size.constant)
        sizes = builder.shape([batch, channels, height, width])
    else:
        around = [part if isinstance(part, str) else builder.constant([part]) for part in (batch, channels)]
        sizes = builder.op("Concat", *around, builder.int64(size), axis=0)
    return Maps(builder.op("Resize", name, "", "", sizes, coordinate_transformation_mode=places, **how))
