"""What the ops are timed on: arrays of the sizes and kinds that the models use."""

import numpy as np

SIZES = ((200, 336), (100, 168), (50, 84), (25, 42))
# (groups, channels of a group in the first stage); every stage has half the pixels a side, twice the channels
RESNEXTS = {"32x4d": (32, 4), "64x4d": (64, 4), "32x8d": (32, 8)}


def boxes_of_images(rng, count):
    """Boxes as proposals have them: log-uniform in size, within 1333 x 800; and their pyramid levels."""
    side = np.exp(rng.uniform(np.log(16), np.log(600), count))
    aspect = np.exp(rng.uniform(-1, 1, count) / 2)
    width, height = side * aspect, side / aspect
    x, y = rng.rand(count) * 1333, rng.rand(count) * 800
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
    boxes = np.clip(boxes, 0, [1333, 800, 1333, 800]).astype("f")
    area = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return boxes, np.clip(np.floor(np.log2(area / 56 + 1e-6)), 0, 3).astype("i4")


def inputs():
    """The sizes that the models use, as NumPy arrays in NHWC."""
    rng = np.random.RandomState(0)
    boxes, levels = boxes_of_images(rng, 1000)
    candidates, _ = boxes_of_images(rng, 5000)
    return {
        "maps": [rng.randn(1, h, w, 256).astype("f") for h, w in SIZES],
        "boxes": boxes,
        "levels": levels,
        "candidates": candidates,
        "scores": rng.rand(5000).astype("f"),
        "labels": rng.randint(0, 80, 5000).astype("i4"),
        "mask": (rng.rand(20, 800, 1344) > 0.5).astype("u1"),
        "index": rng.randint(0, 20, 128).astype("i4"),
        "image": rng.randn(1, 100, 168, 256).astype("f"),
        "kernel": (rng.randn(3, 3, 256, 256) * 0.02).astype("f"),
        "offsets": rng.randn(1, 100, 168, 18).astype("f"),
        "modulation": rng.rand(1, 100, 168, 9).astype("f"),
        "value": rng.randn(1, sum(h * w for h, w in SIZES[1:]), 8, 32).astype("f"),
        "locations": rng.rand(1, 5000, 8, 3, 4, 2).astype("f"),
        "attention": rng.rand(1, 5000, 8, 3, 4).astype("f"),
        "small": rng.randn(1, 50, 84, 256).astype("f"),
        "reassembly": rng.rand(1, 100, 168, 25).astype("f"),
        "corners": rng.randn(1, 128, 128, 256).astype("f"),
        "narrow": (rng.randn(3, 3, 4, 256) * 0.1).astype("f"),
        "points": rng.rand(1, 20000, 2).astype("f"),
        "class_scores": rng.rand(5000, 80).astype("f"),
        "marked": rng.rand(1, 100, 168) < 0.1,
        "probabilities": rng.rand(100, 28, 28).astype("f"),
        "norm_wide": rng.randn(2, 200, 336, 64).astype("f"),
        "norm": rng.randn(2, 100, 168, 256).astype("f"),
        "norm_deep": rng.randn(2, 25, 42, 2048).astype("f"),
        "polygons": [[outline(rng, box)] for box in boxes[:20]],
    }


def batch_inputs(images=8):
    """What training and inference hand over for some images at once."""
    rng = np.random.RandomState(1)
    boxes, _ = boxes_of_images(rng, images * 128)
    candidates, _ = boxes_of_images(rng, images * 5000)
    return {
        "many_candidates": candidates.reshape(images, 5000, 4),
        "many_scores": rng.rand(images, 5000).astype("f"),
        "many_labels": rng.randint(0, 80, (images, 5000)).astype("i4"),
        "many_packed": rng.randint(0, 256, (images, 20, 800, 168)).astype("u1"),
        "many_boxes": boxes.reshape(images, 128, 4),
        "many_index": rng.randint(0, 20, (images, 128)).astype("i4"),
        "many_polygons": [[outline(rng, box)] for box in boxes[: images * 20]],
    }


def outline(rng, box):
    """A polygon of 60 points around the middle of a box, ``[x, y, ...]``."""
    angle = np.sort(rng.rand(60)) * 2 * np.pi
    reach = rng.uniform(0.6, 1.0, 60) / 2
    x = (box[0] + box[2]) / 2 + np.cos(angle) * reach * (box[2] - box[0])
    y = (box[1] + box[3]) / 2 + np.sin(angle) * reach * (box[3] - box[1])
    return np.stack([x, y], 1).round(2).ravel().tolist()


def resnext_convolutions():
    """Yields (name, input NHWC, kernel HWIO, groups) of every stage."""
    rng = np.random.default_rng(0)
    for name, (groups, width) in RESNEXTS.items():
        for stage, size in enumerate(SIZES):
            own, channels = width << stage, groups * width << stage
            image = rng.standard_normal((1, *size, channels), dtype=np.float32)
            kernel = rng.standard_normal((3, 3, own, channels), dtype=np.float32) * 0.1
            yield f"{name}, {size[0]}x{size[1]}, {groups} groups of {own}", image, kernel, groups
