"""kdet's own ops as one op of ONNX, or a few: by their marks (`kdet.ops.marks`)."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from kdet.export.nodes.builder import Builder
from kdet.export.nodes.values import Maps, Result, Unsupported, Value

Kernel: TypeAlias = Callable[..., Sequence[Result]]
# Scores from here on are of candidates. Infinity is avoided: runtimes compute with lower numbers too.
_NONE = np.float32(-3e38)
# where no map is: a region here has only zeros. It has an area, or OpenVINO divides by zero.
_FAR = np.asarray([-1e4, -1e4, -1e4 + 1.0, -1e4 + 1.0], np.float32)


def nms(
    builder: Builder,
    boxes: Value,
    scores: Value,
    max_output: int,
    iou_threshold: float,
    score_threshold: float,
) -> list[Result]:
    """``NonMaxSuppression`` lists what it keeps of all images; ``TopK`` puts it in rows by falling score."""
    marks = builder.plain(scores)
    chosen = builder.op(
        "NonMaxSuppression",
        builder.plain(boxes),
        builder.unsqueeze(marks, 1),
        np.asarray([max_output], np.int64),
        np.asarray([iou_threshold], np.float32),
        np.asarray([max(score_threshold, float(_NONE))], np.float32),
    )
    places = builder.op("Gather", chosen, [0, 2], axis=1)  # [K,2]: image, box
    batch, count = builder.sizes(scores)
    blank = builder.filled(_NONE, [batch, count])
    kept = builder.op("ScatterND", blank, places, builder.op("GatherND", marks, places))
    if isinstance(count, str) or count < max_output:
        kept = builder.op("Concat", kept, builder.filled(_NONE, [batch, max_output]), axis=1)
    best, indices = builder.node("TopK", kept, [max_output], outputs=2, axis=1)
    real = builder.op("Greater", best, _NONE)
    indices = builder.op("Where", real, indices, np.asarray(0, np.int64))
    number = builder.op("ReduceSum", builder.int32(real), [1], keepdims=0)
    return [builder.int32(indices), number]


def roi_align(
    builder: Builder,
    features: Sequence[Value],
    boxes: Value,
    levels: Value,
    output_size: Sequence[int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> list[Result]:
    """The sum over the levels of ``RoiAlign``; regions of another level lie where no map is, and give 0."""
    sizes = builder.sizes(boxes)[:2]
    rois = builder.reshape(builder.plain(boxes), [-1, 4])
    level = builder.reshape(builder.plain(levels), [-1, 1])
    pooled = _pooled(builder, features, rois, level, sizes, output_size, scales, sampling_ratio, aligned)
    pooled = builder.transpose(pooled, 0, 2, 3, 1)
    return [builder.reshape(pooled, [*_rows(sizes), *output_size, features[0].sizes()[3]])]


def deform_roi_pool(
    builder: Builder,
    features: Sequence[Value],
    boxes: Value,
    levels: Value,
    offsets: Value,
    output_size: Sequence[int],
    scales: Sequence[float],
    sampling_ratio: int,
    gamma: float,
) -> list[Result]:
    """Every bin is a region of its own, with one bin."""
    (high, wide), sizes = output_size, builder.sizes(boxes)[:2]
    box = builder.reshape(builder.plain(boxes), [-1, 1, 4])
    first, second = builder.slice(box, 2, 0, 2), builder.slice(box, 2, 2, 4)
    extent = builder.op("Sub", second, first)  # [M,1,2]
    step = builder.op("Div", extent, np.asarray([wide, high], np.float32))
    column, row = np.meshgrid(np.arange(wide), np.arange(high))
    cells = np.stack([column, row], -1).reshape([1, high * wide, 2]).astype(np.float32)
    moved = builder.op("Mul", builder.reshape(builder.plain(offsets), [-1, high * wide, 2]), extent)
    start = builder.op("Add", first, builder.op("Mul", cells, step))
    start = builder.op("Add", start, builder.op("Mul", moved, np.float32(gamma)))  # [M,cells,2]
    rois = builder.op("Concat", start, builder.op("Add", start, step), axis=2)
    rois = builder.reshape(rois, [-1, 4])
    level = builder.reshape(builder.plain(levels), [-1, 1])
    level = builder.reshape(builder.op("Tile", level, [1, high * wide]), [-1, 1])
    if any(isinstance(size, str) for size in sizes):
        raise Unsupported("deformable pooling of an open number of regions")
    inner = [sizes[0], sizes[1] * high * wide]
    pooled = _pooled(builder, features, rois, level, inner, [1, 1], scales, sampling_ratio, True)
    return [builder.reshape(pooled, [*sizes, high, wide, features[0].sizes()[3]])]


def _rows(sizes: Sequence[Any]) -> list[Any]:
    """Leading sizes of a reshape, of which one may be left to the runtime."""
    batch, count = sizes
    return [batch, count] if not isinstance(batch, str) else [-1, count]


def _pooled(
    builder: Builder,
    features: Sequence[Value],
    rois: str,
    level: str,
    sizes: Sequence[Any],
    output_size: Sequence[int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> str:
    """Regions ``[B*N,4]`` -> ``[B*N,C,ph,pw]``."""
    image = _images_of(builder, sizes)
    if aligned and sampling_ratio == 0:  # without an area there are no samples
        sides = builder.op("Sub", builder.slice(rois, 1, 2, 4), builder.slice(rois, 1, 0, 2))
        area = builder.op("Greater", builder.op("ReduceMin", sides, [1], keepdims=1), np.float32(0.0))
        rois = builder.op("Where", area, rois, _FAR)
    parts: list[str] = []
    for index, (maps, scale) in enumerate(zip(features, scales)):
        own = rois
        if len(features) > 1:
            here = builder.op("Equal", level, np.asarray(index, np.int32))
            own = builder.op("Where", here, rois, _FAR)
        parts.append(
            builder.op(
                "RoiAlign",
                builder.nchw(maps),
                own,
                image,
                output_height=output_size[0],
                output_width=output_size[1],
                sampling_ratio=sampling_ratio,
                spatial_scale=float(scale),
                coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
                mode="avg",
            )
        )
    return builder.op("Sum", *parts) if len(parts) > 1 else parts[0]


def _images_of(builder: Builder, sizes: Sequence[Any]) -> str:
    """The image of every region, int64 ``[B*N]``."""
    batch, count = sizes
    if not isinstance(batch, str) and not isinstance(count, str):
        return builder.constant(np.repeat(np.arange(batch), count).astype(np.int64))
    zero, one = np.asarray(0, np.int64), np.asarray(1, np.int64)
    last = builder.squeeze(batch, 0) if isinstance(batch, str) else np.asarray(batch, np.int64)
    images = builder.unsqueeze(builder.op("Range", zero, last, one), 1)
    return builder.reshape(builder.op("Expand", images, builder.shape([batch, count])), [-1])


def deform_conv2d(
    builder: Builder,
    x: Value,
    kernel: Value,
    offsets: Value,
    mask: Value,
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    deform_groups: int,
) -> list[Result]:
    """``DeformConv``, whose offsets and masks are in the same order."""
    inputs = [builder.nchw(x), _kernel(builder, kernel), builder.nchw(offsets)]
    if not (mask.constant is not None and (mask.constant == 1.0).all()):
        inputs += ["", builder.nchw(mask)]
    made = builder.op(
        "DeformConv",
        *inputs,
        kernel_shape=kernel.sizes()[:2],
        strides=list(strides),
        pads=[*padding, *padding],
        dilations=list(dilations),
        group=groups,
        offset_group=deform_groups,
    )
    return [Maps(made)]


def sampled_deform_conv2d(
    builder: Builder,
    x: Value,
    kernel: Value,
    offsets: Value,
    mask: Value,
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    deform_groups: int,
) -> list[Result]:
    """Deformable convolution for runtimes without the op: ``GridSample`` of all cells, then a convolution."""
    high, wide, depth, out = kernel.known_sizes()
    _, *sizes, channels = x.known_sizes()
    _, rows, columns, _ = offsets.known_sizes()
    cells = high * wide
    moved = builder.reshape(builder.plain(offsets), [-1, rows, columns, deform_groups, cells, 2])
    moved = builder.transpose(moved, 0, 3, 4, 1, 2, 5)  # [B,dg,cells,H',W',2] (y,x)
    cell = np.arange(cells)[:, None, None]
    down = np.arange(rows)[:, None] * strides[0] - padding[0] + cell // wide * dilations[0]
    right = np.arange(columns) * strides[1] - padding[1] + cell % wide * dilations[1]
    grid = np.stack(np.broadcast_arrays(down, right), -1).astype(np.float32)  # [cells,H',W',2]
    places = builder.op("Add", moved, grid)
    places = builder.op("Div", builder.op("Add", places, np.float32(0.5)), np.asarray(sizes, np.float32))
    places = builder.op("Gather", _as_grid(builder, places), [1, 0], axis=5)
    places = builder.reshape(places, [-1, cells * rows, columns, 2])
    seen = builder.reshape(builder.nchw(x), [-1, channels // deform_groups, *sizes])
    seen = _sampled(builder, seen, places)  # [B*dg,C/dg,cells*H',W']
    parts = [-1, deform_groups, channels // deform_groups, cells, rows, columns]
    seen = builder.reshape(seen, parts)
    if not (mask.constant is not None and (mask.constant == 1.0).all()):
        factor = builder.reshape(builder.plain(mask), [-1, rows, columns, deform_groups, cells])
        factor = builder.unsqueeze(builder.transpose(factor, 0, 3, 4, 1, 2), 2)
        seen = builder.op("Mul", seen, factor)
    seen = builder.reshape(seen, [-1, channels * cells, rows, columns])
    weights = builder.reshape(_kernel(builder, kernel), [out, depth * cells, 1, 1])
    return [Maps(builder.op("Conv", seen, weights, kernel_shape=[1, 1], group=groups))]


def _kernel(builder: Builder, kernel: Value) -> str:
    if kernel.constant is not None:
        return builder.weight(np.transpose(kernel.constant, (3, 2, 0, 1)))
    return builder.transpose(builder.plain(kernel), 3, 2, 0, 1)


def ms_deform_attn(
    builder: Builder, value: Value, spatial_shapes: Sequence[Any], locations: Value, weights: Value
) -> list[Result]:
    """``GridSample`` of every level with heads as images, then the weighted sum over the points."""
    if not all(isinstance(size, int) for shape in spatial_shapes for size in shape):
        raise Unsupported("deformable attention over maps of an open size")
    heads, depth = (size or 0 for size in value.sizes()[2:])
    queries, points = locations.sizes()[1], locations.sizes()[4]
    if queries is None:
        raise Unsupported("deformable attention of an open number of queries")
    maps = builder.transpose(builder.plain(value), 0, 2, 3, 1)  # [B,heads,D,S]
    grid = builder.transpose(builder.plain(locations), 0, 2, 3, 1, 4, 5)  # [B,heads,levels,Q,P,2]
    grid = _as_grid(builder, grid)
    share = builder.transpose(builder.plain(weights), 0, 2, 3, 1, 4)  # [B,heads,levels,Q,P]
    start = 0
    parts: list[str] = []
    for level, (height, width) in enumerate(spatial_shapes):
        own = builder.slice(maps, 3, start, start + height * width)
        own = builder.reshape(own, [-1, depth, height, width])
        where = builder.reshape(builder.slice(grid, 2, level, level + 1), [-1, queries, points, 2])
        seen = _sampled(builder, own, where)  # [B*heads,D,Q,P]
        factor = builder.reshape(builder.slice(share, 2, level, level + 1), [-1, 1, queries, points])
        parts.append(builder.op("ReduceSum", builder.op("Mul", seen, factor), [3], keepdims=0))
        start += height * width
    total = builder.op("Sum", *parts) if len(parts) > 1 else parts[0]
    total = builder.reshape(total, [-1, heads * depth, queries])
    return [builder.transpose(total, 0, 2, 1)]


def point_sample(builder: Builder, features: Value, points: Value) -> list[Result]:
    """``GridSample`` of a row of points."""
    grid = builder.unsqueeze(_as_grid(builder, builder.plain(points)), 2)  # [B,P,1,2]
    seen = builder.squeeze(_sampled(builder, builder.nchw(features), grid), 3)  # [B,C,P]
    return [builder.transpose(seen, 0, 2, 1)]


def _as_grid(builder: Builder, places: str) -> str:
    """Places from 0 to 1 as ``GridSample`` has them, from -1 to 1."""
    return builder.op("Sub", builder.op("Mul", places, np.float32(2.0)), np.float32(1.0))


def _sampled(builder: Builder, maps: str, grid: str) -> str:
    return builder.op("GridSample", maps, grid, mode="bilinear", padding_mode="zeros", align_corners=0)


KERNELS: dict[str, Kernel] = {
    "deform_conv2d": deform_conv2d,
    "deform_roi_pool": deform_roi_pool,
    "ms_deform_attn": ms_deform_attn,
    "nms": nms,
    "point_sample": point_sample,
    "roi_align": roi_align,
}
