"""The whole road in a few minutes on two cores, without a download: ``make demo``.

Renders images of circles, squares and triangles, trains a small Mask R-CNN on them from random weights,
scores it, saves it, and draws what it finds in images it has not seen.
"""

import argparse
import json
import logging
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

CLASSES = ("circle", "square", "triangle")
SIDE = 128
MODEL = {
    # A quarter of the usual width: easy objects, small images.
    "model.backbone.base_channels": 32,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.pretrained": None,
    "model.neck.out_channels": 64,
    "model.rpn_head.filters": 64,
    "model.rpn_head.train_proposals.nms_pre": 300,
    "model.rpn_head.train_proposals.max_per_image": 100,
    "model.rpn_head.test_proposals.nms_pre": 300,
    "model.rpn_head.test_proposals.max_per_image": 100,
    "model.roi_head.bbox_head.fc_units": 256,
    "model.roi_head.mask_head.filters": 64,
    "model.roi_head.sampler.num": 64,
    "model.roi_head.postprocess.max_per_image": 20,
    "model.preprocessor.size": [SIDE, SIDE],
    "model.num_classes": len(CLASSES),
}
NEXT = """
Look at {out}/detections.png: what it found. Beside it lie detections.json (COCO results), demo.keras
(keras.models.load_model reads it after `import kdet`), run/log.jsonl and run/tensorboard/.

Next:
  python tools/predict.py {out}/run/config.yaml IMAGE --weights {out}/run/final.weights.h5 --out found
  docs/getting_started.md   published models in one line
  docs/fine_tuning.md       your own COCO or VOC data
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/demo", help="folder for everything; emptied first")
    parser.add_argument("--images", type=int, default=240, help="training images to render")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = pathlib.Path(options.out)
    if (out / "data").exists() or not out.exists():
        shutil.rmtree(out, ignore_errors=True)
    elif any(out.iterdir()):
        sys.exit(f"demo: {out} holds something else; choose another --out.")
    run(out, options.images, options.epochs)


def run(out, images, epochs):
    print(f"1. Rendering {images} + 24 images with circles, squares and triangles")
    for split, count, seed in (("train", images, 0), ("val", 24, 1)):
        render(out / "data", split, count, seed)

    from kdet.config import Config
    from kdet.evaluation import evaluate
    from kdet.train.engine import load_data, train

    print("2. Training a small Mask R-CNN (ResNet-18, FPN) from random weights")
    config = Config.load("mask_rcnn_r18_fpn_1x", {**MODEL, **recipe(out, epochs)})
    model, _ = train(config, out / "run", verbose=1 if sys.stdout.isatty() else 2)

    print("3. Scoring it on images it has not seen")
    figures = evaluate(model, load_data(config, "val", 8), ["bbox", "segm"], out=out / "detections.json")
    for name in ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50"):
        print(f"   {name:10} {figures[name]:.3f}")
    model.save(out / "demo.keras")
    draw(model, sorted((out / "data/val").glob("*.png"))[:6], out / "detections.png")
    print(NEXT.format(out=out))


def recipe(out, epochs):
    """The data and train sections, as overrides of the base recipe."""
    data = {"classes": list(CLASSES), "metrics": ["bbox", "segm"]}
    for split in ("train", "val"):
        data[split] = {
            "annotations": str(out / f"data/{split}.json"),
            "images": str(out / f"data/{split}"),
            "masks": True,
            "transforms": [{"type": "Resize", "sizes": [[SIDE, SIDE]]}, {"type": "RandomFlip"}],
        }
    settings = {
        "epochs": epochs,
        "batch_size": 8,
        "optimizer": {"type": "SGD", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.0001},
        "schedule": {"type": "StepDecay", "steps": [0.75 * epochs], "warmup_steps": 30, "warmup_ratio": 0.01},
        "clip": 10.0,
        "initial": None,
        "evaluate_every": 0,
    }
    return {"data": data, "train": settings}


def render(folder, split, count, seed):
    """Writes ``count`` images with one to four shapes, and their COCO JSON with masks."""
    import tensorflow as tf
    from pycocotools import mask as coco_mask

    random = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    content = {"images": [], "annotations": [], "categories": categories}
    for i in range(count):
        image, shapes = scene(random)
        name = f"{i:04d}.png"
        (folder / split / name).write_bytes(tf.io.encode_png(image).numpy())
        content["images"].append({"id": i, "file_name": name, "height": SIDE, "width": SIDE})
        for label, mask in shapes:
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotation = {"id": len(content["annotations"]) + 1, "image_id": i, "category_id": label + 1}
            annotation.update(bbox=coco_mask.toBbox(rle).tolist(), area=int(mask.sum()), iscrowd=0)
            annotation["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
            content["annotations"].append(annotation)
    (folder / f"{split}.json").write_text(json.dumps(content))


def scene(random):
    """One image ``[h, w, 3]`` uint8 and its ``[(label, visible mask [h, w] bool), ...]``."""
    image = random.normal(random.uniform(40, 200, 3), 12, (SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    shapes = []
    for _ in range(random.integers(1, 5)):
        label, radius = int(random.integers(3)), random.uniform(10, 28)
        cx, cy = random.uniform(radius, SIDE - radius, 2)
        u, v = (x - cx) / radius, (y - cy) / radius  # the shape fills -1..1
        inside = (
            u**2 + v**2 <= 1,
            (abs(u) <= 0.85) & (abs(v) <= 0.85),
            (v <= 0.8) & (v >= 2 * abs(u) - 1),
        )[label]
        color = random.uniform(0, 255, 3)
        image[inside] = random.normal(color, 8, (inside.sum(), 3))
        shapes = [(other, mask & ~inside) for other, mask in shapes] + [(label, inside)]
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image, [(label, mask) for label, mask in shapes if mask.sum() >= 60]


def draw(model, paths, target):
    """Draws the detections of some images side by side."""
    import tensorflow as tf

    from kdet import visualize
    from kdet.data import decoding

    found = model.predict([str(path) for path in paths])
    sheet = []
    for i, path in enumerate(paths):
        one = {key: value[i] for key, value in found.items()}
        image = np.repeat(np.repeat(decoding.load(str(path)), 3, 0), 3, 1)  # large enough to read the labels
        one["boxes"], one["masks"] = one["boxes"] * 3, np.repeat(np.repeat(one["masks"], 3, 1), 3, 2)
        sheet.append(visualize.draw_detections(image, one, CLASSES, threshold=0.5))
    target.write_bytes(tf.io.encode_png(visualize.grid(sheet, 3)).numpy())


if __name__ == "__main__":
    main()
