"""Images per second of the input pipeline: 640x480 JPEGs to batches of 800x1333.

    python benchmarks/benchmark_data.py                 kdet's pipeline
    python benchmarks/benchmark_data.py --peer cv2      OpenCV in Python threads, uint8
    python benchmarks/benchmark_data.py --peer mmdet    MMDetection's training pipeline (if installed)

Every call makes the same images, so the figures of several calls compare. On a busy machine compare the
CPU time; for mmdet it is known with ``--workers 0``.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import tempfile
import time

import numpy as np

SIZE = (480, 640)
COUNT = 64  # images on disk, read again and again
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def make_dataset(folder, masks):
    """Smooth random images of about 60 kB with eight objects each, as COCO."""
    import cv2

    random = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(COUNT):
        noise = random.integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
        image = cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{i}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        images.append({"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]})
        for x, y in random.uniform(0, 300, (8, 2)).tolist():
            angles = np.arange(0, 6.28, 0.3)
            polygon = np.stack([x + 60 + 60 * np.cos(angles), y + 60 + 60 * np.sin(angles)], axis=1)
            entry = {"id": len(annotations) + 1, "image_id": i, "category_id": 1, "iscrowd": 0}
            entry.update(bbox=[x, y, 120, 120], area=11310, segmentation=[polygon.ravel().tolist()])
            annotations.append(entry)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "coco.json").write_text(json.dumps(content))


def kdet_batches(folder, options):
    import kdet.data

    spec = {"annotations": str(folder / "coco.json"), "images": str(folder), "masks": options.masks}
    pipeline = kdet.data.load(spec, training=True, batch_size=options.batch)
    for inputs, _ in pipeline.dataset():
        yield inputs["images"].shape[0]


def cv2_batches(folder, options):
    """Decode, resize, flip and pad in threads: the reference's kernels without its bookkeeping."""
    import cv2

    cv2.setNumThreads(1)
    paths = sorted(str(p) for p in folder.glob("*.jpg"))

    def one(i):
        image = cv2.imread(paths[i % len(paths)])
        image = cv2.resize(image, (1067, 800))
        image = cv2.flip(image, 1) if i % 2 else image
        canvas = np.zeros((800, 1088, 3), np.uint8)
        canvas[:, :1067] = image[..., ::-1]
        return canvas

    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        start = 0
        while True:
            yield len(np.stack(list(pool.map(one, range(start, start + 8 * options.batch)))))
            start += 8 * options.batch


def mmdet_batches(folder, options):
    from mmcv.parallel import collate
    from mmdet.datasets import CocoDataset
    from torch.utils.data import DataLoader

    keys = ["img", "gt_bboxes", "gt_labels"] + ["gt_masks"] * options.masks
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": options.masks},
        {"type": "Resize", "img_scale": (1333, 800), "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": 0.5},
        {"type": "Normalize", "mean": MEAN, "std": STD, "to_rgb": True},
        {"type": "Pad", "size_divisor": 32},
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": keys},
    ]
    data = CocoDataset(str(folder / "coco.json"), steps, classes=("thing",), img_prefix=str(folder))
    loader = DataLoader(
        data,
        batch_size=options.batch,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        worker_init_fn=lambda _: __import__("cv2").setNumThreads(1),
        collate_fn=lambda samples: collate(samples, samples_per_gpu=options.batch),
    )
    while True:
        for _ in loader:
            yield options.batch


def rate(batches, warmup, images):
    """(images per second, CPU milliseconds per image) of ``images`` after ``warmup`` others."""
    seen, start = 0, None
    for count in batches:
        seen += count
        if start is None and seen >= warmup:
            seen, start = 0, (time.perf_counter(), time.process_time())
        elif start is not None and seen >= images:
            return seen / (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1]) / seen


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--peer", choices=["cv2", "mmdet"], help="measure this instead of kdet")
    parser.add_argument("--masks", action="store_true", help="with eight instance masks per image")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads or processes of a peer")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--warmup", type=int, default=100)
    options = parser.parse_args()
    makers = {None: kdet_batches, "cv2": cv2_batches, "mmdet": mmdet_batches}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_dataset(folder, options.masks)
        speed, cost = rate(makers[options.peer](folder, options), options.warmup, options.images)
    what = "with masks" if options.masks else "boxes only"
    text = f"{options.peer or 'kdet'}, {what}, batch {options.batch}: {speed:.1f} images/s"
    in_workers = options.peer == "mmdet" and options.workers
    print(text if in_workers else f"{text}, {cost:.1f} ms of CPU per image", flush=True)


if __name__ == "__main__":
    main()
