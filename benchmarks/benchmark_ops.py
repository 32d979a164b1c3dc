"""Times every op of kdet and, with an interpreter that has them, the peers' kernels, on the same inputs.

    python benchmarks/benchmark_ops.py --library kdet --threads 2 --output kdet2.json
    python-with-mmcv benchmarks/benchmark_ops.py --library mmcv --threads 2 --output mmcv2.json
    python benchmarks/benchmark_ops.py --table kdet1.json kdet2.json mmcv1.json mmcv2.json

``--library portable`` times kdet's portable forms. Times are the least of several runs, in milliseconds,
forward and forward + backward. On one thread it is processor time, which other work on the machine disturbs
least. ``--hold avx2`` holds a library to an instruction set. ``--resnext`` times the grouped convolutions of
three ResNeXt-101 instead.
For mmcv an optional ``--compat`` folder may hold a ``compat`` module that
is imported first.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np
from op_inputs import SIZES, batch_inputs, inputs, resnext_convolutions

# what holds kdet, oneDNN and PyTorch to an instruction set
HELD = {
    "avx2": {"KDET_CPU": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "baseline": {"KDET_CPU": "baseline", "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
}
# of `main`: processor time on one thread, otherwise the wall's
clock = time.perf_counter
NORMS = ("norm_wide", "norm", "norm_deep")


def best_of(run, repeats):
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return 1000 * min(times)


def start_tensorflow(threads):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def kdet_cases(tf, only):
    """Differentiable ops as (function, tensors), and the other ops as functions."""
    from kdet import ops

    arrays = inputs() | batch_inputs()
    polygons, many_polygons = (ops.polygons_of(arrays.pop(k)) for k in ("polygons", "many_polygons"))
    data = {
        k: [tf.constant(a) for a in v] if isinstance(v, list) else tf.constant(v) for k, v in arrays.items()
    }
    boxes, levels = data["boxes"][None], data["levels"][None]
    packed = tf.constant(np.packbits(arrays["mask"], axis=-1)[None])

    def batch_norm(x):
        channels = x.shape[-1]
        return ops.batch_norm(x, tf.ones([channels]), tf.zeros([channels])).y

    cases = {
        "roi_align": (
            lambda *maps: ops.multilevel_roi_align(maps, boxes, levels, 7, (4, 8, 16, 32)),
            data["maps"],
        ),
        "deform_conv2d": (
            lambda x, k, o, m: ops.deform_conv2d(x, k, o, m, padding=1),
            [data[k] for k in ("image", "kernel", "offsets", "modulation")],
        ),
        "ms_deform_attn": (
            lambda v, where, w: ops.ms_deform_attn(v, SIZES[1:], where, w),
            [data[k] for k in ("value", "locations", "attention")],
        ),
        "deform_roi_pool": (
            lambda f, o: ops.deform_roi_pool((f,), boxes[:, :256], tf.zeros([1, 256], tf.int32), o, 7, (8,)),
            [data["image"], tf.zeros([1, 256, 7, 7, 2])],
        ),
        "carafe": (lambda x, m: ops.carafe(x, m, kernel_size=5), [data["small"], data["reassembly"]]),
        "corner_pool": (lambda x: ops.corner_pool(x, "top"), [data["corners"]]),
        "point_sample": (lambda x: ops.point_sample(x, data["points"]), [data["image"]]),
        **{f"batch_{name}": (batch_norm, [data[name]]) for name in NORMS},
        "grouped_conv2d": (
            lambda x, k: ops.grouped_conv2d(x, k, padding=1, groups=64),
            [data["image"], data["narrow"]],
        ),
        "masked_conv2d": (
            lambda x, k: ops.masked_conv2d(x, data["marked"], k, padding=1),
            [data["image"], data["kernel"]],
        ),
    }
    plain = {
        "conv3x3": lambda: ops.conv3x3(data["image"], data["kernel"], tf.zeros([256]), relu=True),
        "nms": lambda: ops.nms(
            data["candidates"][None],
            data["scores"][None],
            data["labels"][None],
            iou_threshold=0.5,
            max_output=5000,
        ),
        "soft_nms": lambda: ops.soft_nms(
            data["candidates"][None, :1000], data["scores"][None, :1000], max_output=100, min_score=0.05
        ),
        "fast_nms": lambda: ops.fast_nms(
            data["candidates"][None],
            data["class_scores"][None],
            iou_threshold=0.5,
            score_threshold=0.05,
            top_k=200,
            max_output=100,
        ),
        "crop_masks": lambda: ops.crop_masks(packed, boxes[:, :128], data["index"][None], 28),
        "paste_masks": lambda: ops.paste_masks(
            data["probabilities"][None], boxes[:, :100], 800, 1333, threshold=0.5
        ),
        "rasterize_polygons": lambda: ops.rasterize_polygons(polygons, 800, 1333),
        "nms_of_8_images": lambda: ops.nms(
            data["many_candidates"],
            data["many_scores"],
            data["many_labels"],
            iou_threshold=0.5,
            max_output=5000,
        ),
        "soft_nms_of_8_images": lambda: ops.soft_nms(
            data["many_candidates"][:, :1000], data["many_scores"][:, :1000], max_output=100, min_score=0.05
        ),
        "crop_masks_of_8_images": lambda: ops.crop_masks(
            data["many_packed"], data["many_boxes"], data["many_index"], 28
        ),
        "rasterize_polygons_of_8_images": lambda: ops.rasterize_polygons(many_polygons, 800, 1333),
        "nothing": lambda: tf.identity(data["scores"]),  # what any call takes
    }
    return chosen(cases, only), chosen(plain, only)


def time_kdet(form, threads, repeats, only, resnext):
    tf = start_tensorflow(threads)
    from kdet import ops

    if resnext:
        with ops.use(form):
            return {
                name: time_differentiable(
                    tf,
                    lambda x, k, groups=groups: ops.grouped_conv2d(x, k, padding=1, groups=groups),
                    [tf.constant(image), tf.constant(kernel)],
                    repeats,
                )
                for name, image, kernel, groups in resnext_convolutions()
            }
    cases, plain = kdet_cases(tf, only)
    results = {}
    with ops.use(form):
        for name, (op, tensors) in cases.items():
            results[name] = time_differentiable(tf, op, list(tensors), repeats)
        for name, op in plain.items():
            run = tf.function(op)
            results[name] = [best_of(run, repeats)] * 2
    return results


def chosen(cases, only):
    return {name: case for name, case in cases.items() if not only or name in only}


def time_differentiable(tf, op, tensors, repeats):
    forward = tf.function(lambda *x: op(*x))
    upstream = tf.ones_like(forward(*tensors))

    @tf.function
    def both(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            out = op(*tensors)
        return out, tape.gradient(out, tensors, upstream)

    return [best_of(lambda: forward(*tensors), repeats), best_of(lambda: both(*tensors), repeats)]


def time_torch(op, tensors, repeats):
    import torch

    tensors = [t.requires_grad_() for t in tensors]
    upstream = torch.ones_like(op(*tensors).detach())

    def forward():
        with torch.no_grad():
            op(*tensors)

    def both():
        for t in tensors:
            t.grad = None
        op(*tensors).backward(upstream)

    return [best_of(forward, repeats), best_of(both, repeats)]


def time_torch_resnext(threads, repeats):
    import torch

    torch.set_num_threads(threads)
    return {
        name: time_torch(
            lambda x, k, groups=groups: torch.nn.functional.conv2d(x, k, None, 1, 1, 1, groups),
            [
                torch.tensor(image).permute(0, 3, 1, 2),  # channels_last in memory
                torch.tensor(kernel.transpose(3, 2, 0, 1).copy()),
            ],
            repeats,
        )
        for name, image, kernel, groups in resnext_convolutions()
    }


def time_mmcv(threads, repeats, only):
    import torch
    from mmcv import ops
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
    from mmdet.core.post_processing import fast_nms
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from pycocotools import mask as coco_mask

    torch.set_num_threads(threads)
    arrays = inputs() | batch_inputs()

    def nchw(array):
        return torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, 1)))

    boxes, levels = torch.tensor(arrays["boxes"]), torch.tensor(arrays["levels"])
    rois = torch.cat([torch.zeros(1000, 1), boxes], 1)

    def roi_align(*maps):
        parts = [
            ops.roi_align(m, rois[levels == k], (7, 7), 1 / 2 ** (k + 2), 0, "avg", True)
            for k, m in enumerate(maps)
        ]
        return torch.cat(parts)

    def batch_norm(x):
        channels = x.shape[1]
        weight, bias = (t.requires_grad_() for t in (torch.ones(channels), torch.zeros(channels)))
        return torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)

    shapes = torch.tensor(SIZES[1:])
    shifts = torch.zeros(256, 2, 7, 7)
    cases = {
        "roi_align": (roi_align, [nchw(m) for m in arrays["maps"]]),
        "deform_conv2d": (
            lambda x, k, o, m: ops.modulated_deform_conv2d(x, o, m, k, None, 1, 1, 1, 1, 1),
            [
                nchw(arrays["image"]),
                torch.tensor(arrays["kernel"].transpose(3, 2, 0, 1).copy()),
                nchw(arrays["offsets"]),
                nchw(arrays["modulation"]),
            ],
        ),
        "ms_deform_attn": (
            lambda v, where, w: multi_scale_deformable_attn_pytorch(v, shapes, where, w),
            [torch.tensor(arrays[k]) for k in ("value", "locations", "attention")],
        ),
        "deform_roi_pool": (
            lambda f, o: ops.deform_roi_pool(f, rois[:256], o, (7, 7), 1 / 8, 0, 0.1),
            [nchw(arrays["image"]), shifts],
        ),
        "carafe": (
            lambda x, m: ops.carafe(x, m, 5, 1, 2),
            [nchw(arrays["small"]), nchw(arrays["reassembly"])],
        ),
        "corner_pool": (ops.CornerPool("top"), [nchw(arrays["corners"])]),
        "point_sample": (
            lambda x: ops.point_sample(x, torch.tensor(arrays["points"])),
            [nchw(arrays["image"])],
        ),
        **{f"batch_{name}": (batch_norm, [nchw(arrays[name])]) for name in NORMS},
        "grouped_conv2d": (
            lambda x, k: torch.nn.functional.conv2d(x, k, None, 1, 1, 1, 64),
            [
                nchw(arrays["image"]).contiguous(memory_format=torch.channels_last),
                torch.tensor(arrays["narrow"].transpose(3, 2, 0, 1).copy()),
            ],
        ),
        # mmcv's masked convolution has no backward pass: the framework's convolution and a product
        "masked_conv2d": (
            lambda x, k: torch.nn.functional.conv2d(x, k, None, 1, 1) * marked,
            [nchw(arrays["image"]), torch.tensor(arrays["kernel"].transpose(3, 2, 0, 1).copy())],
        ),
    }
    marked = torch.tensor(arrays["marked"])[:, None].float()
    class_scores = torch.cat([torch.tensor(arrays["class_scores"]), torch.zeros(5000, 1)], 1)
    probabilities = torch.tensor(arrays["probabilities"])[:, None]
    candidates, scores = torch.tensor(arrays["candidates"]), torch.tensor(arrays["scores"])
    labels = torch.tensor(arrays["labels"]).long()
    masks = torch.tensor(arrays["mask"])
    index = torch.tensor(arrays["index"]).long()
    image, kernel = cases["deform_conv2d"][1][:2]
    many = {k: torch.tensor(v) for k, v in arrays.items() if k.startswith("many") and k != "many_polygons"}
    many_masks = torch.tensor(np.unpackbits(arrays["many_packed"], axis=-1))
    images = range(len(many_masks))

    def crop(masks, index, boxes):
        rois = torch.cat([torch.arange(float(len(boxes)))[:, None], boxes], 1)
        chosen = masks[index.long()][:, None].float()
        return ops.roi_align(chosen, rois, (28, 28), 1.0, 0, "avg", True) >= 0.5

    def rasterize(objects):
        return [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(p, 800, 1333))) for p in objects]

    plain = {
        "conv3x3": lambda: torch.relu_(torch.nn.functional.conv2d(image, kernel, torch.zeros(256), 1, 1)),
        "nms": lambda: ops.batched_nms(candidates, scores, labels, {"type": "nms", "iou_threshold": 0.5}),
        "soft_nms": lambda: ops.soft_nms(candidates[:1000], scores[:1000], 0.3, 0.5, 0.05, "linear"),
        "crop_masks": lambda: crop(masks, index, boxes[:128]),
        "fast_nms": lambda: fast_nms(candidates, class_scores, torch.zeros(5000, 1), 0.05, 0.5, 200, 100),
        # as the mask head does on the CPU: one mask at a time, around its box
        "paste_masks": lambda: [
            _do_paste_mask(probabilities[i : i + 1], boxes[i : i + 1], 800, 1333, True)[0] >= 0.5
            for i in range(100)
        ],
        "rasterize_polygons": lambda: rasterize(arrays["polygons"]),
        # image by image, as they are used
        "nms_of_8_images": lambda: [
            ops.batched_nms(*of_image, {"type": "nms", "iou_threshold": 0.5})
            for of_image in zip(many["many_candidates"], many["many_scores"], many["many_labels"].long())
        ],
        "soft_nms_of_8_images": lambda: [
            ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, "linear")
            for boxes, scores in zip(many["many_candidates"][:, :1000], many["many_scores"][:, :1000])
        ],
        "crop_masks_of_8_images": lambda: [
            crop(many_masks[k], many["many_index"][k], many["many_boxes"][k]) for k in images
        ],
        "rasterize_polygons_of_8_images": lambda: rasterize(arrays["many_polygons"]),
    }
    results = {}
    cases, plain = chosen(cases, only), chosen(plain, only)
    for name, (op, tensors) in cases.items():
        results[name] = time_torch(op, tensors, repeats)
    for name, op in plain.items():
        results[name] = [best_of(op, repeats)] * 2
    return results


def table(paths):
    columns = [json.loads(pathlib.Path(path).read_text()) for path in paths]
    titles = [f"{c['library']}, {c['threads']} thread{'s' * (c['threads'] > 1)}" for c in columns]
    titles = [f"{title}, {c['held']}" if c["held"] else title for title, c in zip(titles, columns)]
    print("| op | " + " | ".join(titles) + " |\n|" + "-|" * (len(titles) + 1))
    for name in columns[0]["results"]:
        cells = [c["results"].get(name) for c in columns]
        print(f"| {name} | " + " | ".join(f"{c[0]:.1f} / {c[1]:.1f}" if c else "-" for c in cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--library", choices=["kdet", "portable", "mmcv"], default="kdet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ops", nargs="+", metavar="OP", help="only these")
    parser.add_argument(
        "--resnext", action="store_true", help="grouped convolutions only, in all their sizes"
    )
    parser.add_argument("--hold", choices=HELD, help="hold the library to this instruction set")
    parser.add_argument("--compat", help="folder of a compat module to import before mmcv")
    parser.add_argument("--output", help="where the JSON goes (default: standard output)")
    parser.add_argument("--table", nargs="+", metavar="JSON", help="print a table of results and stop")
    options = parser.parse_args()
    if options.table:
        return table(options.table)
    global clock
    clock = time.process_time if options.threads == 1 else time.perf_counter
    os.environ.update(HELD.get(options.hold, {}))
    if options.library == "mmcv":
        if options.compat:
            sys.path.insert(0, options.compat)
            import compat  # noqa: F401
        if options.resnext:
            results = time_torch_resnext(options.threads, options.repeats)
        else:
            results = time_mmcv(options.threads, options.repeats, options.ops)
    else:
        form = "compiled" if options.library == "kdet" else "portable"
        results = time_kdet(form, options.threads, options.repeats, options.ops, options.resnext)
    about = {"library": options.library, "threads": options.threads, "held": options.hold}
    text = json.dumps(about | {"results": results}, indent=1)
    if options.output:
        pathlib.Path(options.output).write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
