"""What ``benchmark_cuda.py`` times: CUDA kernels and their peers in PyTorch, on the same inputs."""

import ctypes
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from cuda_library import NULL, struct
from op_inputs import SIZES, inputs
from torch.nn import functional as F

DEVICE = "cuda"


@dataclasses.dataclass(eq=False)
class Data:
    """The inputs on the GPU, in the type that is timed or, where an op wants that, in float32."""

    dtype: torch.dtype
    arrays: dict = dataclasses.field(default_factory=inputs)

    def __call__(self, name):
        tensor = self.full(name)
        return tensor.to(self.dtype) if tensor.dtype == torch.float32 else tensor

    @functools.cache  # noqa: B019 one object lives as long as the process
    def full(self, name):
        return torch.tensor(self.arrays[name], device=DEVICE)

    def maps(self):
        return [torch.tensor(m, device=DEVICE).to(self.dtype) for m in self.arrays["maps"]]

    def empty(self, *shape):
        return torch.empty(shape, dtype=self.dtype, device=DEVICE)


@dataclasses.dataclass
class Case:
    """What is timed; functions or None. results: (kdet's, the peer's) lists of tensors."""

    forward: Callable = None
    backward: Callable = None
    peer_forward: Callable = None
    peer_backward: Callable = None
    results: Callable = None


class Peer:
    """A differentiable function of PyTorch as `Case` wants it."""

    def __init__(self, function, *tensors):
        self.function, self.tensors = function, [t.detach().requires_grad_() for t in tensors]
        self.out = function(*self.tensors)
        self.upstream = torch.ones_like(self.out)

    def forward(self):
        with torch.no_grad():
            return self.function(*self.tensors)

    def backward(self):
        return torch.autograd.grad(self.out, self.tensors, self.upstream, retain_graph=True)

    def results(self):
        return [self.out.detach(), *self.backward()]


def nchw(tensor):
    """The same memory with PyTorch's order of dimensions (channels last)."""
    return tensor.permute(0, 3, 1, 2)


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1)


def float_sums(*tensors):
    """Float32 tensors of the shapes of others, and a function that clears them and hands them over."""
    made = [torch.empty(t.shape, dtype=torch.float32, device=DEVICE) for t in tensors]

    def cleared():
        for tensor in made:
            tensor.zero_()
        return made

    return made, cleared


def integers(*shape):
    return torch.empty(shape, dtype=torch.int32, device=DEVICE)


def floats(*shape):
    return torch.empty(shape, device=DEVICE)


def roi_align(kernels, data):
    maps, boxes, levels = data.maps(), data.full("boxes"), data("levels")
    heights, widths = zip(*SIZES)
    scales = [1 / stride for stride in (4, 8, 16, 32)]
    p = struct("iIIFlliiiib", 4, heights, widths, scales, 1, 1000, 256, 7, 7, 0, True)
    out, upstream = data.empty(1000, 7, 7, 256), torch.ones_like(data.empty(1000, 7, 7, 256))
    gradients, cleared = float_sums(*maps)
    gamma = ctypes.c_float(0)
    rois = torch.cat([torch.zeros(1000, 1, device=DEVICE), boxes], 1).to(data.dtype)
    places = [torch.nonzero(levels == k)[:, 0] for k in range(4)]
    back = torch.argsort(torch.cat(places))

    def by_torchvision(*maps):
        parts = [
            torchvision.ops.roi_align(nchw(m), rois[at], 7, scale, aligned=True)
            for m, at, scale in zip(maps, places, scales)
        ]
        return torch.cat(parts)

    peer = Peer(by_torchvision, *maps)

    def results():
        pooled, *for_maps = peer.results()
        return [out, *gradients], [nhwc(pooled[back]), *for_maps]

    return Case(
        lambda: kernels.roi_align(p, kernels.type, maps, boxes, levels, NULL, gamma, out),
        lambda: kernels.roi_align_grad(
            p, kernels.type, upstream, maps, boxes, levels, NULL, gamma, cleared(), NULL
        ),
        peer.forward,
        peer.backward,
        results,
    )


def deform_conv2d(kernels, data):
    """The columns are kdet's; the products are PyTorch's here, and TensorFlow's in kdet."""
    image, kernel = data("image"), data("kernel")
    offsets, mask = data.full("offsets"), data.full("modulation")
    p = struct("l" + "i" * 16, 1, 100, 168, 256, 100, 168, 256, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    out, upstream = torch.empty_like(image), torch.ones_like(image)
    (for_image,), cleared = float_sums(image)
    for_offsets, for_mask, for_kernel = map(torch.empty_like, (offsets, mask, kernel))
    columns, for_columns = data.empty(16800, 2304), data.empty(16800, 2304)
    weights, outputs = kernel.view(2304, 256), upstream.view(16800, 256)

    def forward():
        kernels.deform_columns(p, kernels.type, image, offsets, mask, columns)
        torch.matmul(columns, weights, out=out.view(16800, 256))

    def backward():
        kernels.deform_columns(p, kernels.type, image, offsets, mask, columns)
        torch.matmul(columns.T, outputs, out=for_kernel.view(2304, 256))
        torch.matmul(outputs, weights.T, out=for_columns)
        kernels.deform_columns_grad(
            p, kernels.type, image, offsets, mask, for_columns, *cleared(), for_offsets, for_mask
        )

    peer = Peer(
        lambda x, k, o, m: torchvision.ops.deform_conv2d(
            nchw(x), nchw(o), k.permute(3, 2, 0, 1), padding=1, mask=nchw(m)
        ),
        *(image, kernel, data("offsets"), data("modulation")),
    )

    def results():
        expected, *gradients = peer.results()
        return [out, for_image, for_kernel, for_offsets, for_mask], [nhwc(expected), *gradients]

    return Case(forward, backward, peer.forward, peer.backward, results)


def ms_deform_attn(kernels, data):
    tensors = value, locations, weights = [data(name) for name in ("value", "locations", "attention")]
    heights, widths = zip(*SIZES[1:])
    starts = [0, heights[0] * widths[0], heights[0] * widths[0] + heights[1] * widths[1]]
    p = struct("llliiiiIIL", 1, value.shape[1], 5000, 8, 32, 3, 4, heights, widths, starts)
    out, upstream = data.empty(1, 5000, 256), torch.ones_like(data.empty(1, 5000, 256))
    gradients, cleared = float_sums(*tensors)

    def by_grid_sample(value, locations, weights):
        batch, queries, heads, levels, points, _ = locations.shape
        maps = value.split([h * w for h, w in SIZES[1:]], 1)
        seen = []
        for level, (height, width) in enumerate(SIZES[1:]):
            grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
            own = maps[level].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
            seen.append(F.grid_sample(own, grid, align_corners=False))
        weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, levels * points)
        out = (torch.stack(seen, -2).flatten(-2) * weights).sum(-1)
        return out.view(batch, -1, queries).transpose(1, 2)

    peer = Peer(by_grid_sample, *tensors)
    return Case(
        lambda: kernels.ms_deform_attn(p, kernels.type, value, kernels.type, locations, weights, out),
        lambda: kernels.ms_deform_attn_grad(
            p, kernels.type, value, kernels.type, locations, weights, upstream, *cleared()
        ),
        peer.forward,
        peer.backward,
        lambda: ([out, *gradients], peer.results()),
    )


def carafe(kernels, data):
    features, masks = data("small"), data("reassembly")
    p = struct("liiiiii", 1, 50, 84, 256, 5, 1, 2)
    out, upstream = data.empty(1, 100, 168, 256), torch.ones_like(data.empty(1, 100, 168, 256))
    for_features, for_masks = torch.empty_like(features), torch.empty_like(masks)

    def unfolded(features, masks):
        batch, height, width, channels = features.shape
        rows = F.unfold(nchw(features), 5, padding=2).view(batch, channels, 25, height, width)
        rows = rows.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return torch.einsum("nckhw,nhwk->nhwc", rows, masks)

    peer = Peer(unfolded, features, masks)
    return Case(
        lambda: kernels.carafe(p, kernels.type, features, masks, out),
        lambda: kernels.carafe_grad(p, kernels.type, features, masks, upstream, for_features, for_masks),
        peer.forward,
        peer.backward,
        lambda: ([out, for_features, for_masks], peer.results()),
    )


def corner_pool(kernels, data):
    x = data("corners")
    p = struct("liiibb", 1, 128, 128, 256, True, True)  # the largest of the pixels from here on down
    out, upstream = torch.empty_like(x), torch.ones_like(x)
    gradients, cleared = float_sums(x)
    peer = Peer(lambda x: x.flip(1).cummax(1).values.flip(1), x)
    return Case(
        lambda: kernels.corner_pool(p, kernels.type, x, out),
        lambda: kernels.corner_pool_grad(p, kernels.type, x, upstream, *cleared()),
        peer.forward,
        peer.backward,
        lambda: ([out, *gradients], peer.results()),
    )


def batch_norm(name, kernels, data):
    x = data(name)
    batch, height, width, channels = x.shape
    p = struct("llif", batch, height * width, channels, 1e-5)
    kernels.library.kdet_cuda_batch_norm_sums.restype = ctypes.c_int64
    sums = torch.empty(kernels.library.kdet_cuda_batch_norm_sums(p), dtype=torch.float64, device=DEVICE)
    gamma, beta = torch.ones(channels, device=DEVICE), torch.zeros(channels, device=DEVICE)
    mean, variance, inverse, for_gamma, for_beta = floats(5, channels)
    lines, y, for_x, upstream = floats(3, channels), *map(torch.empty_like, (x, x)), torch.randn_like(x)
    peer = Peer(lambda x, g, s: nhwc(F.batch_norm(nchw(x), None, None, g, s, training=True)), x, gamma, beta)
    peer.upstream = upstream
    return Case(
        lambda: kernels.batch_norm(
            p, kernels.type, x, NULL, gamma, beta, sums, lines, y, mean, variance, inverse
        ),
        lambda: kernels.batch_norm_grad(
            p, kernels.type, x, upstream, NULL, gamma, mean, inverse, sums, lines, for_x, for_gamma, for_beta
        ),
        peer.forward,
        peer.backward,
        lambda: ([y, for_x, for_gamma, for_beta], peer.results()),
    )


def nms(wanted, kernels, data):
    boxes, scores, labels = data.full("candidates"), data.full("scores"), data("labels")
    p = struct("lllff", 1, 5000, wanted, 0.5, -1.0)
    places, kept, indices, counts = integers(3, 5000), floats(5000, 4), integers(wanted), integers(1)

    def by_torchvision():
        return torchvision.ops.batched_nms(boxes, scores, labels, 0.5)[:wanted]

    return Case(
        lambda: kernels.nms(p, boxes, scores, labels, places, kept, indices, counts),
        peer_forward=by_torchvision,
        results=lambda: ([indices[: int(counts)]], [by_torchvision()]),
    )


def soft_nms(kernels, data):
    boxes, scores = data.full("candidates")[:1000].contiguous(), data.full("scores")
    p = struct("lllfffb", 1, 1000, 100, 0.3, 0.5, 0.05, False)
    live, indices, kept, counts = floats(1000), integers(100), floats(100), integers(1)
    return Case(lambda: kernels.soft_nms(p, boxes, scores, live, indices, kept, counts))


def fast_nms(kernels, data):
    boxes, scores = data.full("candidates"), data.full("class_scores")
    p = struct("lllllff", 1, 5000, 80, 200, 100, 0.5, 0.05)
    scratch = integers(80 * 200), integers(80 * 200), floats(80 * 200)
    indices, labels, kept, counts = integers(100), integers(100), floats(100), integers(1)

    def by_sorting():
        ranked, order = (t[:, :200] for t in scores.T.sort(1, descending=True))
        own = boxes[order.reshape(-1)].view(80, 200, 4)
        low = own[:, :, None, :2].maximum(own[:, None, :, :2])
        high = own[:, :, None, 2:].minimum(own[:, None, :, 2:])
        area, inner = (own[..., 2:] - own[..., :2]).prod(-1), (high - low).clamp(min=0).prod(-1)
        overlap = inner / (area[:, :, None] + area[:, None] - inner)
        stays = (overlap.triu(1).amax(1) <= 0.5) & (ranked > 0.05)
        return torch.where(stays, ranked, 0).flatten().topk(100).values

    return Case(
        lambda: kernels.fast_nms(p, boxes, scores, *scratch, indices, labels, kept, counts),
        peer_forward=by_sorting,
        results=lambda: ([kept], [by_sorting()]),
    )


def crop_masks(kernels, data):
    """The peer is torchvision's RoIAlign of unpacked masks, as detectors make their mask targets with it."""
    packed = torch.tensor(np.packbits(data.arrays["mask"], axis=-1), device=DEVICE)
    masks, index = data.full("mask").float(), data("index")
    boxes = data.full("boxes")[:128].contiguous()
    p = struct("llliiii", 1, 20, 128, 800, 168, 28, 28)
    out, rois = floats(128, 28, 28), torch.cat([index[:, None].float(), boxes], 1)

    def by_roi_align():
        return (torchvision.ops.roi_align(masks[:, None], rois, 28, aligned=True)[:, 0] >= 0.5).float()

    return Case(
        lambda: kernels.crop_masks(p, packed, boxes, index, out),
        peer_forward=by_roi_align,
        results=lambda: ([out], [by_roi_align()]),
    )


def paste_masks(kernels, data):
    boxes, masks = data.full("boxes")[:100].contiguous(), data.full("probabilities")
    height, width = 800, 1333
    p = struct("liiiif", 100, 28, 28, height, width, 0.5)
    out = torch.empty(100, height, width, dtype=torch.bool, device=DEVICE)

    def by_grid_sample():
        x0, y0, x1, y1 = (boxes[:, k, None] for k in range(4))
        x = (torch.arange(width, device=DEVICE) + 0.5 - x0) / (x1 - x0) * 2 - 1
        y = (torch.arange(height, device=DEVICE) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack([x[:, None].expand(out.shape), y[:, :, None].expand(out.shape)], -1)
        return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0] >= 0.5

    return Case(
        lambda: kernels.paste_masks(p, 0, masks, boxes, True, out),
        peer_forward=by_grid_sample,
        results=lambda: ([out], [by_grid_sample()]),
    )


DIFFERENTIABLE = {
    "roi_align": roi_align,
    "deform_conv2d": deform_conv2d,
    "ms_deform_attn": ms_deform_attn,
    "carafe": carafe,
    "corner_pool": corner_pool,
    "batch_norm, 200x336x64": functools.partial(batch_norm, "norm_wide"),
    "batch_norm, 100x168x256": functools.partial(batch_norm, "norm"),
    "batch_norm, 25x42x2048": functools.partial(batch_norm, "norm_deep"),
}
FLOAT32 = {
    **{f"nms, {n} of 5000 wanted": functools.partial(nms, n) for n in (5000, 1000, 100)},
    "soft_nms, 100 of 1000 wanted": soft_nms,
    "fast_nms": fast_nms,
    "crop_masks": crop_masks,
    "paste_masks": paste_masks,
}
