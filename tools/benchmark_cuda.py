"""Times the CUDA kernels of kdet against PyTorch's and torchvision's on a GPU, and compares their results.

    kernels=$(ls custom_ops/*/*.cu | grep -v tests)
    nvcc -shared -std=c++17 -O3 -arch=native -Xcompiler -fPIC -Icustom_ops $kernels -o kernels.so
    python-with-torch tools/benchmark_cuda.py --kernels kernels.so --output cuda.json

The kernels know nothing of TensorFlow. Sizes are those of ``tools/benchmark_ops.py``; times are medians of
CUDA events, milliseconds, forward and backward by itself; kdet's include clearing the gradients that are
summed up.
"""

import argparse
import ctypes
import json
import statistics

import numpy as np
import torch
import torchvision
from op_inputs import SIZES, inputs
from torch.nn import functional as F

KINDS = {"l": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float, "b": ctypes.c_bool}
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
MAPS, LEVELS = 16, 16  # kMostLevels, kMostAttentionLevels


def struct(kinds, *values):
    """A C struct of the given kinds (see `KINDS`); an upper-case letter takes a list, filled up to 16."""
    fields = [
        (f"f{k}", KINDS[kind.lower()] * MAPS if kind.isupper() else KINDS[kind])
        for k, kind in enumerate(kinds)
    ]
    made = type("Struct", (ctypes.Structure,), {"_fields_": fields})()
    for (name, kind), value in zip(fields, values, strict=True):
        setattr(made, name, kind(*value) if isinstance(value, (list, tuple)) else value)
    return ctypes.byref(made)


def pointer(value):
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, list):
        return (ctypes.c_void_p * len(value))(*[t.data_ptr() for t in value])
    return value


class Kernels:
    """``kernels.roi_align(parameters, ...)`` calls ``kdet_cuda_roi_align`` on PyTorch's stream."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def __getattr__(self, name):
        function = getattr(self.library, f"kdet_cuda_{name}")

        def call(*arguments):
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            error = function(*map(pointer, arguments), stream)
            if error:
                raise RuntimeError(f"{name}: CUDA error {error}")

        return call


def milliseconds(run, rounds=7, at_least=20.0):
    """Median time of one call, from rounds of enough calls to last ``at_least`` milliseconds."""
    for _ in range(3):
        run()
    calls = 1
    while True:
        times = []
        for _ in range(rounds if calls > 1 else 1):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / calls)
        if calls > 1 or times[0] > at_least:
            return statistics.median(times)
        calls = max(2, min(200, int(at_least / times[0])))


def nchw(tensor):
    """The same memory with PyTorch's order of dimensions (channels last)."""
    return tensor.permute(0, 3, 1, 2)


def own_paste(masks, boxes, height, width):
    """Masks in the picture as torchvision and mmdet make them, with ``grid_sample``."""
    x0, y0, x1, y1 = (boxes[:, k, None] for k in range(4))
    x = (torch.arange(width, device=masks.device) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(height, device=masks.device) + 0.5 - y0) / (y1 - y0) * 2 - 1
    shape = (len(masks), height, width)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0] >= 0.5


def sampled_attention(value, locations, weights):
    """Multi-scale deformable attention by ``grid_sample``, level by level."""
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


def own_carafe(features, masks):
    """Content-aware reassembly from unfolded features (NCHW in, masks [N, H, W, 25] of the output)."""
    batch, channels, height, width = features.shape
    rows = F.unfold(features, 5, padding=2).view(batch, channels, 25, height, width)
    rows = rows.repeat_interleave(2, 3).repeat_interleave(2, 4)
    return torch.einsum("nckhw,nhwk->nchw", rows, masks)


def fast_nms(boxes, scores):
    """YOLACT's NMS over all classes at once."""
    ranked, order = scores.T.sort(1, descending=True)
    ranked, order = ranked[:, :200], order[:, :200]
    own = boxes[order.reshape(-1)].view(*order.shape, 4)
    low, high = own[:, :, None, :2].maximum(own[:, None, :, :2]), own[:, :, None, 2:].minimum(own[:, None, :, 2:])
    area = (own[..., 2:] - own[..., :2]).prod(-1)
    inner = (high - low).clamp(min=0).prod(-1)
    overlap = inner / (area[:, :, None] + area[:, None] - inner)
    keep = (overlap.triu(1).amax(1) <= 0.5) & (ranked > 0.05)
    return torch.where(keep, ranked, 0).flatten().topk(100)


def cases(kernels, dtype):
    """Yields (name, kdet's forward and backward, the peer's, results to compare), functions or None."""
    device, kind = torch.device("cuda"), TYPES[dtype]
    arrays = inputs()
    arrays.pop("polygons")

    def to_device(array):
        tensor = torch.tensor(array, device=device)
        return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor

    data = {k: [to_device(m) for m in v] if isinstance(v, list) else to_device(v) for k, v in arrays.items()}
    full = {k: torch.tensor(arrays[k], device=device) for k in ("boxes", "candidates", "scores", "offsets", "modulation", "class_scores")}
    empty = lambda *shape, of=dtype: torch.empty(shape, dtype=of, device=device)  # noqa: E731
    sums = lambda *shapes: [torch.empty(s, dtype=torch.float32, device=device) for s in shapes]  # noqa: E731

    def cleared(tensors):
        for t in tensors:
            t.zero_()
        return tensors

    def peer(op, tensors):
        """(forward, backward, results) of a differentiable function of PyTorch."""
        tensors = [t.detach().requires_grad_() for t in tensors]
        out = op(*tensors)
        up = torch.ones_like(out)
        backward = lambda: torch.autograd.grad(out, tensors, up, retain_graph=True)  # noqa: E731

        def forward():
            with torch.no_grad():
                return op(*tensors)

        return forward, backward, lambda: [out.detach(), *backward()]

    # RoIAlign
    maps, boxes, levels = data["maps"], full["boxes"], data["levels"]
    heights, widths = zip(*SIZES)
    p = struct("iIIFlliiiib", 4, heights, widths, [1 / s for s in (4, 8, 16, 32)], 1, 1000, 256, 7, 7, 0, True)
    out, up = empty(1000, 7, 7, 256), torch.ones(1000, 7, 7, 256, dtype=dtype, device=device)
    gradients = sums(*[m.shape for m in maps])
    none = ctypes.c_void_p()
    rois = torch.cat([torch.zeros(1000, 1, device=device), boxes], 1).to(dtype)
    places = [torch.nonzero(levels == k)[:, 0] for k in range(4)]

    def torch_roi_align(*maps):
        parts = [
            torchvision.ops.roi_align(nchw(m), rois[at], 7, 1 / 2 ** (k + 2), aligned=True)
            for k, (m, at) in enumerate(zip(maps, places))
        ]
        return torch.cat(parts)

    order = torch.argsort(torch.cat(places))
    gamma = ctypes.c_float(0.1)
    yield (
        "roi_align",
        lambda: kernels.roi_align(p, kind, maps, boxes, levels, none, gamma, out),
        lambda: kernels.roi_align_grad(p, kind, up, maps, boxes, levels, none, gamma, cleared(gradients), none),
        *peer(torch_roi_align, maps)[:2],
        lambda: (
            [out, *gradients],
            [torch_roi_align(*maps)[order].permute(0, 2, 3, 1), *peer(torch_roi_align, maps)[2]()[1:]],
        ),
    )

    # modulated deformable convolution
    image, kernel, offsets, mask = data["image"], data["kernel"], full["offsets"], full["modulation"]
    q = struct("liiiiiiiiiiiiiiii", 1, 100, 168, 256, 100, 168, 256, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    convolved, ones = torch.empty_like(image), torch.ones_like(image)
    deform_sums = sums(image.shape, kernel.shape, offsets.shape, mask.shape)

    def torch_deform(x, k, o, m):
        return torchvision.ops.deform_conv2d(nchw(x), nchw(o), k.permute(3, 2, 0, 1), padding=1, mask=nchw(m))

    deform_peer = peer(torch_deform, [image, kernel, offsets.to(dtype), mask.to(dtype)])
    yield (
        "deform_conv2d",
        lambda: kernels.deform_conv(q, kind, image, kernel, offsets, mask, convolved),
        lambda: kernels.deform_conv_grad(q, kind, image, kernel, offsets, mask, ones, *cleared(deform_sums)),
        *deform_peer[:2],
        lambda: (
            [convolved, *deform_sums],
            [deform_peer[2]()[0].permute(0, 2, 3, 1), *deform_peer[2]()[1:]],
        ),
    )

    # multi-scale deformable attention
    value, where, attention = data["value"], data["locations"], data["attention"]
    starts = np.cumsum([0] + [h * w for h, w in SIZES[1:]])[:3].tolist()
    a = struct("llliiiiIIL", 1, value.shape[1], 5000, 8, 32, 3, 4, heights[1:], widths[1:], starts)
    attended, upstream = empty(1, 5000, 256), torch.ones(1, 5000, 256, dtype=dtype, device=device)
    attention_sums = sums(value.shape, where.shape, attention.shape)
    attention_peer = peer(sampled_attention, [value, where, attention])
    yield (
        "ms_deform_attn",
        lambda: kernels.ms_deform_attn(a, kind, value, kind, where, attention, attended),
        lambda: kernels.ms_deform_attn_grad(
            a, kind, value, kind, where, attention, upstream, *cleared(attention_sums)
        ),
        *attention_peer[:2],
        lambda: ([attended, *attention_sums], attention_peer[2]()),
    )

    # CARAFE
    small, weights = data["small"], data["reassembly"]
    c = struct("liiiiii", 1, 50, 84, 256, 5, 1, 2)
    larger, for_small, for_weights = torch.empty_like(image), torch.empty_like(small), torch.empty_like(weights)
    carafe_peer = peer(lambda x, m: own_carafe(nchw(x), m), [small, weights])
    yield (
        "carafe",
        lambda: kernels.carafe(c, kind, small, weights, larger),
        lambda: kernels.carafe_grad(c, kind, small, weights, ones, for_small, for_weights),
        *carafe_peer[:2],
        lambda: (
            [larger, for_small, for_weights],
            [carafe_peer[2]()[0].permute(0, 2, 3, 1), *carafe_peer[2]()[1:]],
        ),
    )

    # corner pooling: a pixel is the largest of those below it
    corners = data["corners"]
    d = struct("liiibb", 1, 128, 128, 256, True, True)
    pooled, corner_ones, corner_sums = torch.empty_like(corners), torch.ones_like(corners), sums(corners.shape)
    corner_peer = peer(lambda x: x.flip(1).cummax(1).values.flip(1), [corners])
    yield (
        "corner_pool",
        lambda: kernels.corner_pool(d, kind, corners, pooled),
        lambda: kernels.corner_pool_grad(d, kind, corners, corner_ones, *cleared(corner_sums)),
        *corner_peer[:2],
        lambda: ([pooled, *corner_sums], corner_peer[2]()),
    )

    # batch normalisation in training
    for name in ("norm_wide", "norm", "norm_deep"):
        x = data[name]
        batch, height, width, channels = x.shape
        b = struct("llif", batch, height * width, channels, 1e-5)
        gamma_, beta, mean, variance, inverse, for_gamma, for_beta = (
            torch.ones(channels, device=device) * k for k in (1, 0, 0, 0, 0, 0, 0)
        )
        lines = torch.empty(3, channels, device=device)
        scratch = kernels.library.kdet_cuda_batch_norm_sums(b)
        totals = torch.empty(scratch, device=device, dtype=torch.float64)
        y, for_x, up_x = torch.empty_like(x), torch.empty_like(x), torch.randn_like(x)

        def torch_norm(x, g, s):
            return F.batch_norm(nchw(x), None, None, g, s, training=True)

        norm_in = [t.detach().requires_grad_() for t in (x, gamma_, beta)]
        norm_out = torch_norm(*norm_in)
        norm_back = lambda o=norm_out, i=norm_in, u=up_x: torch.autograd.grad(o, i, nchw(u), retain_graph=True)  # noqa: E731
        yield (
            f"batch_norm, {height}x{width}x{channels}",
            lambda b=b, x=x, y=y, t=totals, li=lines, s=(gamma_, beta, mean, variance, inverse): kernels.batch_norm(
                b, kind, x, none, s[0], s[1], t, li, y, s[2], s[3], s[4]
            ),
            lambda b=b, x=x, u=up_x, t=totals, li=lines, o=for_x, s=(
                gamma_,
                mean,
                inverse,
                for_gamma,
                for_beta,
            ): kernels.batch_norm_grad(b, kind, x, u, none, s[0], s[1], s[2], t, li, o, s[3], s[4]),
            lambda i=norm_in: torch_norm(*[t.detach() for t in i]),
            norm_back,
            lambda y=y, o=norm_out, f=for_x, back=norm_back, g=(for_gamma, for_beta): (
                [y, f, *g],
                [o.detach().permute(0, 2, 3, 1), *back()],
            ),
        )

    # convolution at a tenth of the places
    marked, bias = data["marked"], torch.zeros(256, dtype=dtype, device=device)
    m = struct("liiiiiiiiiiii", 1, 100, 168, 256, 100, 168, 256, 3, 3, 1, 1, 1, 1)
    masked_sums = sums(image.shape, kernel.shape, bias.shape)
    chosen = marked[..., None].to(dtype)
    masked_peer = peer(
        lambda x, k, b: F.conv2d(nchw(x), k.permute(3, 2, 0, 1), b, padding=1).permute(0, 2, 3, 1) * chosen,
        [image, kernel, bias],
    )
    yield (
        "masked_conv2d",
        lambda: kernels.masked_conv(m, kind, image, marked, kernel, bias, convolved),
        lambda: kernels.masked_conv_grad(m, kind, image, marked, kernel, ones, *cleared(masked_sums)),
        *masked_peer[:2],
        lambda: ([convolved, *masked_sums], masked_peer[2]()),
    )
    if dtype != torch.float32:
        return

    # suppression
    candidates, scores, labels = full["candidates"], full["scores"], data["labels"]
    whole = lambda n: torch.empty(n, dtype=torch.int32, device=device)  # noqa: E731
    live, counts = torch.empty(5000, device=device), whole(1)
    for wanted in (5000, 1000, 100):
        n, indices = struct("lllff", 1, 5000, wanted, 0.5, -1.0), whole(wanted)

        def torch_nms(wanted=wanted):
            return torchvision.ops.batched_nms(candidates, scores, labels, 0.5)[:wanted]

        yield (
            f"nms, {wanted} of 5000 wanted",
            lambda n=n, i=indices: kernels.nms(n, candidates, scores, labels, live, i, counts),
            None,
            torch_nms,
            None,
            lambda i=indices, peer=torch_nms: ([i[: int(counts)]], [peer()]),
        )
    first, kept, hundred = candidates[:1000].contiguous(), torch.empty(100, device=device), whole(100)
    s = struct("lllfffb", 1, 1000, 100, 0.3, 0.5, 0.05, False)
    yield (
        "soft_nms, 100 of 1000",
        lambda: kernels.soft_nms(s, first, scores, live, hundred, kept, counts),
        None,
        None,
        None,
        None,
    )
    by_class = full["class_scores"]
    f = struct("lllllff", 1, 5000, 80, 200, 100, 0.5, 0.05)
    ranks, left, of_class = whole(80 * 200), torch.empty(80 * 200, device=device), whole(100)
    yield (
        "fast_nms",
        lambda: kernels.fast_nms(f, candidates, by_class, ranks, left, hundred, of_class, kept, counts),
        None,
        lambda: fast_nms(candidates, by_class),
        None,
        lambda: ([kept], [fast_nms(candidates, by_class).values]),
    )

    # masks
    packed = torch.tensor(np.packbits(arrays["mask"], axis=-1), device=device)
    plain, index = torch.tensor(arrays["mask"], device=device).float(), data["index"]
    target_boxes = boxes[:128].contiguous()
    k = struct("llliiii", 1, 20, 128, 800, 168, 28, 28)
    crops = torch.empty(128, 28, 28, device=device)
    mask_rois = torch.cat([index[:, None].float(), target_boxes], 1)

    def torch_crops():
        return (torchvision.ops.roi_align(plain[:, None], mask_rois, 28, aligned=True)[:, 0] >= 0.5).float()

    yield (
        "crop_masks",
        lambda: kernels.crop_masks(k, packed, target_boxes, index, crops),
        None,
        torch_crops,
        None,
        lambda: ([crops], [torch_crops()]),
    )
    hundred_boxes, probabilities = boxes[:100].contiguous(), data["probabilities"]
    t = struct("liiiif", 100, 28, 28, 800, 1333, 0.5)
    pasted = torch.empty(100, 800, 1333, dtype=torch.bool, device=device)
    yield (
        "paste_masks",
        lambda: kernels.paste_masks(t, 0, probabilities, hundred_boxes, True, pasted),
        None,
        lambda: own_paste(probabilities, hundred_boxes, 800, 1333),
        None,
        lambda: ([pasted], [own_paste(probabilities, hundred_boxes, 800, 1333)]),
    )


def difference(ours, theirs):
    """The largest difference relative to the largest number, of all results."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.double(), b.double()
        if a.shape != b.shape:
            raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)}")
        worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kernels", required=True, help="shared library of custom_ops/*/*.cu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--output", help="JSON file of the times")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    results = {}
    print(f"{torch.cuda.get_device_name()}, {options.dtype}\n| op | kdet | peer | peer / kdet | difference |\n|-|-|-|-|-|")
    for name, forward, backward, peer_forward, peer_backward, compared in cases(
        Kernels(options.kernels), getattr(torch, options.dtype)
    ):
        runs = (forward, backward, peer_forward, peer_backward)
        times = [run and milliseconds(run) for run in runs]
        worst = None
        if compared and options.dtype == "float32":
            try:
                worst = difference(*compared())
            except (RuntimeError, ValueError) as error:
                worst = str(error)
        results[name] = {"times": times, "difference": worst}
        shown = ["-" if t is None else f"{t:.3f}" for t in times]
        own, other = times[:2], times[2:]
        both = [sum(t for t, mine in zip(pair, own) if t and mine) for pair in (own, other)]
        ratio = f"{both[1] / both[0]:.2f}" if both[1] else "-"
        shape = f"{worst:.1e}" if isinstance(worst, float) else worst
        print(f"| {name} | {shown[0]} / {shown[1]} | {shown[2]} / {shown[3]} | {ratio} | {shape} |", flush=True)
    if options.output:
        with open(options.output, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
