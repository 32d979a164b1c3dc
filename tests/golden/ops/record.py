"""Records what the reference's ops give on small cases, for tests/ops.

Run with an interpreter that has PyTorch, mmcv-full 1.7 and mmdet 2.28; give the folder that holds a
``compat`` module as the first argument where mmcv has no CPU kernel for CARAFE and deformable RoI
pooling. One ``.npz`` per op is written next to this script. Arrays are NHWC.
"""

import pathlib
import sys

sys.path[:0] = sys.argv[1:2]
import compat  # noqa: E402, F401  (must come before mmcv)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmcv import ops  # noqa: E402

HERE = pathlib.Path(__file__).parent


def nhwc(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def nchw(array):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, 1)), requires_grad=True)


def save(name, **arrays):
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def random_boxes(rng, count, width, height):
    corner = rng.rand(count, 2) * [width, height]
    size = rng.rand(count, 2) * [width, height] * 0.6
    return np.concatenate([corner, corner + size], 1).astype("f")


def record_roi_align():
    rng = np.random.RandomState(0)
    features = rng.randn(2, 20, 30, 3).astype("f")
    boxes = np.stack([random_boxes(rng, 12, 100, 60) for _ in range(2)])
    boxes[0, :6] = [
        [-300, -200, 1000, 900],  # much larger than the map
        [5, 5, 5, 5],  # empty
        [2000, 2000, 3000, 3000],  # off the map
        [20, 20, 21, 20.5],  # below one pixel
        [-4, -4, 120, 80],  # the border band
        [0, 0, 140, 70],  # whole numbers of samples
    ]
    boxes[1, 0] = [0, 0, 600, 3]
    rois = np.concatenate([np.repeat([[0], [1]], 12, 0), boxes.reshape(-1, 4)], 1).astype("f")
    arrays = dict(features=features, boxes=boxes, upstream=rng.randn(2, 12, 7, 5, 3).astype("f"))
    for aligned in (False, True):
        for ratio in (0, 2):
            x = nchw(features)
            out = ops.roi_align(x, torch.tensor(rois), (7, 5), 0.25, ratio, "avg", aligned)
            (nhwc_tensor(out) * torch.tensor(arrays["upstream"]).reshape(24, 7, 5, 3)).sum().backward()
            key = f"{'aligned' if aligned else 'legacy'}_{ratio}"
            arrays[f"{key}_out"] = nhwc(out).reshape(2, 12, 7, 5, 3)
            arrays[f"{key}_grad"] = nhwc(x.grad)
    save("roi_align", **arrays)


def nhwc_tensor(tensor):
    return tensor.permute(0, 2, 3, 1)


def record_nms():
    rng = np.random.RandomState(1)
    boxes = np.stack([random_boxes(rng, 200, 600, 400) for _ in range(2)])
    boxes[:, 100:] = boxes[:, :100] + rng.randn(2, 100, 4) * 6
    boxes = boxes.clip(0).astype("f")
    scores = rng.rand(2, 200).astype("f")
    labels = rng.randint(0, 5, (2, 200)).astype("i4")
    arrays = dict(boxes=boxes, scores=scores, labels=labels)
    configs = {
        "hard": dict(type="nms", iou_threshold=0.5),
        "linear": dict(type="soft_nms", iou_threshold=0.3, min_score=0.05, method="linear"),
        "gaussian": dict(type="soft_nms", iou_threshold=0.3, min_score=0.05, method="gaussian"),
    }
    for name, config in configs.items():
        for agnostic in (False, True):
            for i in range(2):
                keep = scores[i] > 0.1
                found, kept = ops.batched_nms(
                    torch.tensor(boxes[i][keep]),
                    torch.tensor(scores[i][keep]),
                    torch.tensor(labels[i][keep]),
                    config,
                    agnostic,
                )
                key = f"{name}_{'agnostic' if agnostic else 'class'}_{i}"
                arrays[f"{key}_index"] = np.nonzero(keep)[0][kept.numpy()]
                arrays[f"{key}_score"] = found[:, 4].numpy()
    save("nms", **arrays)


def record_fast_nms():
    from mmdet.core.post_processing import fast_nms

    rng = np.random.RandomState(2)
    boxes = random_boxes(rng, 60, 300, 200)
    boxes[30:] = boxes[:30] + rng.randn(30, 4) * 8
    scores = rng.rand(60, 5).astype("f")
    index = torch.arange(60.0)[:, None]
    found, labels, kept = fast_nms(torch.tensor(boxes), torch.tensor(scores), index, 0.2, 0.5, 20, 100)
    save(
        "fast_nms",
        boxes=boxes,
        scores=scores[:, :4],
        found=found.numpy(),
        labels=labels.numpy(),
        kept=kept.numpy()[:, 0].astype("i4"),
    )


def record_masks():
    from mmdet.core.mask.structures import BitmapMasks
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    rng = np.random.RandomState(3)
    y, x = np.mgrid[:90, :133]
    masks = np.stack(
        [
            ((y - a) ** 2 / b + (x - c) ** 2 / d) < 900
            for a, b, c, d in [(40, 1.0, 60, 2.0), (20, 0.3, 100, 0.5), (70, 2.0, 20, 0.4)]
        ]
    ).astype("u1")
    boxes = random_boxes(rng, 20, 100, 70)
    boxes[0] = [0, 0, 133, 90]
    boxes[1] = [-20, -10, 300, 60]
    boxes[2] = [10, 10, 38, 38]
    index = rng.randint(0, 3, 20)
    targets = BitmapMasks(masks, 90, 133).crop_and_resize(boxes, (28, 28), index).masks
    probabilities = rng.rand(20, 14, 14).astype("f")
    pasted, _ = _do_paste_mask(torch.tensor(probabilities)[:, None], torch.tensor(boxes), 90, 133, False)
    save(
        "masks",
        masks=masks,
        boxes=boxes,
        index=index.astype("i4"),
        targets=np.packbits(targets, axis=-1),
        probabilities=probabilities,
        pasted=pasted.numpy().astype("f2"),
        pasted_binary=np.packbits(pasted.numpy() >= 0.5, axis=-1),
    )


def record_grouped_conv():
    """In float64: the reference's float32 sums are off by more than the test allows."""
    rng = np.random.RandomState(4)
    arrays = {}
    cases = {
        "narrow": (16, 16, 8, 1, 1),
        "four": (8, 8, 2, 1, 2),
        "eight": (16, 16, 2, 2, 1),
        "sixteen": (48, 48, 3, 1, 1),
        "wide": (32, 48, 2, 2, 1),
        "dilated": (8, 12, 4, 1, 2),
        "depthwise": (6, 12, 6, 2, 1),
        "dense": (3, 5, 1, 2, 3),
    }
    for name, (inputs, outputs, groups, stride, dilation) in cases.items():
        x, weight = (
            rng.randn(2, 9, 11, inputs).astype("f"),
            rng.randn(outputs, inputs // groups, 3, 3).astype("f"),
        )
        image, kernel = nchw(x.astype("d")), leaf(weight.astype("d"))
        out = torch.nn.functional.conv2d(image, kernel, None, stride, dilation, dilation, groups)
        upstream = rng.randn(*out.shape).astype("f")
        (out * torch.tensor(upstream)).sum().backward()
        arrays.update(
            {
                f"{name}_config": np.array([groups, stride, dilation]),
                f"{name}_x": x,
                f"{name}_kernel": weight.transpose(2, 3, 1, 0),
                f"{name}_out": nhwc(out).astype("f"),
                f"{name}_upstream": np.moveaxis(upstream, 1, -1),
                f"{name}_grad_x": nhwc(image.grad).astype("f"),
                f"{name}_grad_kernel": kernel.grad.numpy().transpose(2, 3, 1, 0).astype("f"),
            }
        )
    save("grouped_conv", **arrays)


def gradients(out, upstream, **inputs):
    """Arrays ``grad_<name>`` of ``sum(out * upstream)``, in the inputs' own layouts."""
    (out * torch.tensor(upstream)).sum().backward()
    return {f"grad_{name}": tensor.grad for name, tensor in inputs.items()}


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def record_deform_conv():
    rng = np.random.RandomState(5)
    arrays = {}
    # (inputs, outputs, kernel, stride, padding, dilation, groups, deform groups, modulated)
    cases = {
        "plain": (6, 8, 3, 1, 1, 1, 1, 1, False),
        "modulated": (6, 8, 3, 1, 1, 1, 1, 1, True),
        "strided": (8, 6, 3, 2, 2, 2, 2, 4, True),
        "grouped": (8, 4, (3, 1), 1, (1, 0), 1, 2, 2, False),
    }
    for name, (inputs, outputs, kernel, stride, padding, dilation, groups, parts, modulated) in cases.items():
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        x = rng.randn(2, inputs, 9, 11).astype("f")
        weight = rng.randn(outputs, inputs // groups, kh, kw).astype("f")
        shape = torch.nn.functional.conv2d(
            torch.tensor(x), torch.tensor(weight), None, stride, padding, dilation, groups
        ).shape
        offset = (rng.randn(2, parts * 2 * kh * kw, *shape[2:]) * 2).astype("f")
        offset[0, :, 0] = 0  # starts of training: whole pixels, some of them in the padding
        mask = rng.rand(2, parts * kh * kw, *shape[2:]).astype("f")
        image, kernel_, offset_, mask_ = leaf(x), leaf(weight), leaf(offset), leaf(mask)
        if modulated:
            out = ops.modulated_deform_conv2d(
                image, offset_, mask_, kernel_, None, stride, padding, dilation, groups, parts
            )
        else:
            out = ops.deform_conv2d(image, offset_, kernel_, stride, padding, dilation, groups, parts)
        upstream = rng.randn(*out.shape).astype("f")
        leaves = dict(x=image, offsets=offset_, **({"mask": mask_} if modulated else {}))
        found = gradients(out, upstream, kernel=kernel_, **leaves)
        found["grad_kernel"] = found["grad_kernel"].permute(2, 3, 1, 0)
        arrays.update({f"{name}_{k}": nhwc(v) if k != "grad_kernel" else v.numpy() for k, v in found.items()})
        arrays.update(
            {
                f"{name}_{k}": np.moveaxis(v, 1, -1)
                for k, v in dict(x=x, offsets=offset, upstream=upstream).items()
            }
        )
        arrays.update(
            {
                f"{name}_kernel": weight.transpose(2, 3, 1, 0),
                f"{name}_out": nhwc(out),
                f"{name}_config": np.array([stride, *np.broadcast_to(padding, 2), dilation, groups, parts]),
            }
        )
        if modulated:
            arrays[f"{name}_mask"] = np.moveaxis(mask, 1, -1)
    save("deform_conv", **arrays)


def record_deform_roi_pool():
    rng = np.random.RandomState(6)
    features, boxes = (
        rng.randn(2, 16, 20, 3).astype("f"),
        np.stack([random_boxes(rng, 5, 80, 60) for _ in range(2)]),
    )
    boxes[0, 0], boxes[0, 1] = [-30, -30, 120, 90], [7, 7, 7, 7]
    rois = np.concatenate([np.repeat([[0], [1]], 5, 0), boxes.reshape(-1, 4)], 1).astype("f")
    offsets = rng.randn(10, 2, 4, 3).astype("f")
    arrays = dict(features=features, boxes=boxes, offsets=np.moveaxis(offsets, 1, -1).reshape(2, 5, 4, 3, 2))
    arrays["upstream"] = rng.randn(2, 5, 4, 3, 3).astype("f")
    upstream = np.moveaxis(arrays["upstream"].reshape(10, 4, 3, 3), -1, 1)
    for ratio in (0, 2):
        x, shift = nchw(features), leaf(offsets)
        out = ops.deform_roi_pool(x, torch.tensor(rois), shift, (4, 3), 0.25, ratio, 0.3)
        found = gradients(out, upstream, features=x, offsets=shift)
        arrays[f"out_{ratio}"] = nhwc(out).reshape(2, 5, 4, 3, 3)
        arrays[f"grad_features_{ratio}"] = nhwc(found["grad_features"])
        arrays[f"grad_offsets_{ratio}"] = nhwc(found["grad_offsets"]).reshape(2, 5, 4, 3, 2)
    save("deform_roi_pool", **arrays)


def record_carafe():
    rng = np.random.RandomState(7)
    features, masks = rng.randn(2, 5, 6, 8).astype("f"), rng.rand(2, 10, 12, 2 * 25).astype("f")
    x, weights = nchw(features), nchw(masks)
    out = ops.carafe(x, weights, 5, 2, 2)
    upstream = rng.randn(*out.shape).astype("f")
    found = gradients(out, upstream, features=x, masks=weights)
    save(
        "carafe",
        features=features,
        masks=masks,
        out=nhwc(out),
        upstream=np.moveaxis(upstream, 1, -1),
        **{k: nhwc(v) for k, v in found.items()},
    )


def record_ms_deform_attn():
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    rng = np.random.RandomState(8)
    shapes = [(6, 7), (3, 4)]
    value = rng.randn(2, 54, 2, 5).astype("f")
    locations = (rng.rand(2, 9, 2, 2, 3, 2) * 1.4 - 0.2).astype("f")
    weights = rng.rand(2, 9, 2, 2, 3).astype("f")
    leaves = dict(value=leaf(value), locations=leaf(locations), weights=leaf(weights))
    out = multi_scale_deformable_attn_pytorch(
        leaves["value"], torch.tensor(shapes), *list(leaves.values())[1:]
    )
    upstream = rng.randn(*out.shape).astype("f")
    save(
        "ms_deform_attn",
        shapes=np.array(shapes),
        value=value,
        locations=locations,
        weights=weights,
        out=out.detach().numpy(),
        upstream=upstream,
        **{k: v.numpy() for k, v in gradients(out, upstream, **leaves).items()},
    )


def record_corner_pool():
    rng = np.random.RandomState(9)
    x = np.maximum(rng.randn(2, 7, 9, 3), 0).astype("f")  # many ties, as after a ReLU
    arrays = dict(x=x, upstream=rng.randn(2, 7, 9, 3).astype("f"))
    for direction in ("top", "bottom", "left", "right"):
        image = nchw(x)
        out = ops.CornerPool(direction)(image)
        found = gradients(out, np.moveaxis(arrays["upstream"], -1, 1), x=image)
        arrays[f"{direction}_out"], arrays[f"{direction}_grad"] = nhwc(out), nhwc(found["grad_x"])
    save("corner_pool", **arrays)


def record_masked_conv():
    rng = np.random.RandomState(10)
    x, mask = rng.randn(1, 8, 9, 4).astype("f"), (rng.rand(1, 8, 9) > 0.6).astype("f")
    weight, bias = rng.randn(6, 4, 3, 3).astype("f"), rng.randn(6).astype("f")
    out = ops.masked_conv2d(nchw(x), torch.tensor(mask), torch.tensor(weight), torch.tensor(bias), 1, 1)
    # mmcv's op has no backward pass; where the mask is set it is a convolution
    image, kernel, shift = nchw(x), leaf(weight), leaf(bias)
    whole = torch.nn.functional.conv2d(image, kernel, shift, 1, 1) * torch.tensor(mask)[:, None]
    upstream = rng.randn(*whole.shape).astype("f")
    found = gradients(whole, upstream, x=image, kernel=kernel, bias=shift)
    save(
        "masked_conv",
        x=x,
        mask=mask,
        kernel=weight.transpose(2, 3, 1, 0),
        bias=bias,
        out=nhwc(out),
        upstream=np.moveaxis(upstream, 1, -1),
        grad_x=nhwc(found["grad_x"]),
        grad_kernel=found["grad_kernel"].permute(2, 3, 1, 0).numpy(),
        grad_bias=found["grad_bias"].numpy(),
    )


def record_polygons():
    from mmdet.core.mask.structures import polygon_to_bitmap

    rng = np.random.RandomState(12)
    points, lengths, objects, masks = [], [], [], []
    for k in range(12):
        angle = np.sort(rng.rand(5 + k)) * 2 * np.pi
        star = 60 + rng.rand(5 + k) * [[45.0], [30.0]] * [np.cos(angle), np.sin(angle)]
        parts = [star.T.round(k % 3).ravel(), rng.uniform(-20, 140, 8)][: 1 + k % 2]
        masks.append(polygon_to_bitmap(parts, 90, 133))
        points += [part.reshape(-1, 2) for part in parts]
        lengths += [len(part) // 2 for part in parts]
        objects.append(len(parts))
    save(
        "polygons",
        points=np.concatenate(points),
        points_of_polygon=np.array(lengths),
        polygons_of_object=np.array(objects),
        masks=np.packbits(masks, axis=-1),
    )


def record_point_sample():
    rng = np.random.RandomState(11)
    features, points = rng.randn(2, 6, 8, 3).astype("f"), (rng.rand(2, 10, 2) * 1.3 - 0.15).astype("f")
    arrays = dict(features=features, points=points, upstream=rng.randn(2, 10, 3).astype("f"))
    for align in (False, True):
        x, places = nchw(features), leaf(points)
        out = ops.point_sample(x, places, align).permute(0, 2, 1)
        found = gradients(out, arrays["upstream"], features=x, points=places)
        arrays[f"out_{align}"] = out.detach().numpy()
        arrays[f"grad_features_{align}"] = nhwc(found["grad_features"])
        arrays[f"grad_points_{align}"] = found["grad_points"].numpy()
    save("point_sample", **arrays)


if __name__ == "__main__":
    wanted = sys.argv[2:] or [name[7:] for name in list(globals()) if name.startswith("record_")]
    for name in wanted:
        globals()[f"record_{name}"]()
