"""Detect objects in images.

    kdet predict mask_rcnn_r50_fpn_1x street.jpg folder/ --out found/

Writes every image with boxes, masks and labels drawn in, and detections.json: a list with one entry per
image, {"image", "height", "width", "detections": [{"label", "class", "score", "box" [x1, y1, x2, y2],
"mask" (COCO RLE, where the model has masks)}]}.
"""

import argparse
import json
import pathlib
from typing import Any

from kdet.cli import common

HELP = "detect objects in images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser)
    common.add_dtype(parser)
    parser.add_argument("images", nargs="+", help="images, or folders of images")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the results")
    parser.add_argument("--min-score", type=float, default=0.3, help="leave out detections below it")
    parser.add_argument(
        "--canvas", choices=["own", "buckets"], default="own", help="buckets: a few static shapes, for XLA"
    )


def run(options: argparse.Namespace) -> None:
    import tensorflow as tf

    from kdet import visualize
    from kdet.data import decoding

    paths = common.find_images(options.images)
    _, model = common.load_model(options)
    options.out.mkdir(parents=True, exist_ok=True)
    entries = []
    with common.progress_bar(len(paths)) as bar:
        for path, target in zip(paths, targets(paths, options.out), strict=True):
            found = {
                key: value[0] for key, value in model.predict([str(path)], canvas=options.canvas).items()
            }
            image = decoding.load(str(path))
            detections = describe(found, model.class_names, options.min_score)
            entry = {"image": str(path), "height": image.shape[0], "width": image.shape[1]}
            entries.append({**entry, "detections": detections})
            drawn = visualize.draw_detections(image, found, model.class_names, threshold=options.min_score)
            tf.io.write_file(str(target), tf.io.encode_png(drawn))
            bar.update()
            bar.write(f"{path}: {len(detections)} objects -> {target}")
    (options.out / "detections.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")


def targets(paths: list[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """Return where each drawn image goes; images of one name get a number."""
    chosen, taken = [], set()
    for number, path in enumerate(paths):
        name = f"{path.stem}_{number}.png" if path.stem in taken else f"{path.stem}.png"
        taken.add(path.stem)
        chosen.append(out / name)
    return chosen


def describe(found: dict[str, Any], class_names: list[str] | None, min_score: float) -> list[dict[str, Any]]:
    """Return the detections of one image for the JSON."""
    from kdet.evaluation.results import encode_mask

    detections = []
    for i in range(int(found["num_detections"])):
        if found["scores"][i] < min_score:
            continue
        label = int(found["labels"][i])
        detection = {"label": label, "class": class_names[label] if class_names else str(label)}
        detection.update(score=float(found["scores"][i]), box=[float(v) for v in found["boxes"][i]])
        if "masks" in found:
            detection["mask"] = encode_mask(found["masks"][i])
        detections.append(detection)
    return detections
