"""The whole road in a few minutes on two cores, without a download: ``make demo``.

Renders images of circles, squares and triangles, trains a small Mask R-CNN on them from random weights,
scores it, saves it, and draws what it finds in images it has not seen.
"""

import argparse
import logging
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDE = 96
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
    "model.rpn_head.anchor_generator.scales": [4],
    "model.roi_head.bbox_head.fc_units": 128,
    "model.roi_head.mask_head.num_convs": 2,
    "model.roi_head.mask_head.filters": 48,
    "model.roi_head.sampler.num": 48,
    "model.roi_head.postprocess.max_per_image": 20,
    "model.preprocessor.size": [SIDE, SIDE],
    "model.num_classes": 3,
}
NEXT = """
Look at {out}/detections.png: what it found. Beside it lie detections.json (COCO results), demo.keras
(keras.models.load_model reads it after `import kdet`), run/log.jsonl and run/tensorboard/.

Next:
  kdet predict {out}/run IMAGE --out found     what this model finds in other images
  kdet demo {out}/run                          the same in the browser (pip install 'kdet[demo]')
  docs/getting_started.md   published models in one line
  docs/fine_tuning.md       your own COCO or VOC data
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/demo", help="folder for everything; emptied first")
    parser.add_argument("--images", type=int, default=240, help="training images to render")
    parser.add_argument("--epochs", type=int, default=12)
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
    from kdet.config import Config
    from kdet.curation.shapes import draw_shapes
    from kdet.evaluation import evaluate
    from kdet.train.engine import load_data, train

    draw_shapes(out / "data", SIDE, train=images, val=24)
    print("2. Training a small Mask R-CNN (ResNet-18, FPN) from random weights")
    config = Config.load("mask_rcnn_r18_fpn_1x", {**MODEL, **recipe(out, epochs)})
    model, _ = train(config, out / "run", verbose=1 if sys.stdout.isatty() else 2)

    print("3. Scoring it on images it has not seen")
    figures = evaluate(model, load_data(config, "val", 8), ["bbox", "segm"], out=out / "detections.json")
    for name in ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50"):
        print(f"   {name:10} {figures[name]:.3f}")
    model.save(out / "demo.keras")
    draw(model, sorted((out / "data/images/val").glob("*.png"))[:6], out / "detections.png")
    print(NEXT.format(out=out))


def recipe(out, epochs):
    """The data and train sections, as overrides of the base recipe."""
    from kdet.curation.shapes import SHAPES

    data = {"classes": list(SHAPES), "metrics": ["bbox", "segm"]}
    for split in ("train", "val"):
        data[split] = {
            "annotations": str(out / f"data/{split}.json"),
            "images": str(out / f"data/images/{split}"),
            "masks": True,
            "transforms": [{"type": "Resize", "sizes": [[SIDE, SIDE]]}, {"type": "RandomFlip"}],
        }
    settings = {
        "epochs": epochs,
        "batch_size": 8,
        "optimizer": {"type": "AdamW", "learning_rate": 0.001, "weight_decay": 0.01},
        "schedule": {"type": "StepDecay", "steps": [0.75 * epochs], "warmup_steps": 30, "warmup_ratio": 0.01},
        "clip": 10.0,
        "initial": None,
        "evaluate_every": 0,
    }
    return {"data": data, "train": settings}


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
        sheet.append(visualize.draw_detections(image, one, model.class_names, threshold=0.7))
    target.write_bytes(tf.io.encode_png(visualize.grid(sheet, 3)).numpy())


if __name__ == "__main__":
    main()
