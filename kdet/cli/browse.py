"""Draw what the network will see: training (or evaluation) batches with boxes, masks and padding.

kdet browse my_recipe.yaml --out sheet.png --split train --count 8
kdet browse --annotations a.json --images images/ --masks --out sheet.png
"""

import argparse
from typing import Any

from kdet.cli import common

HELP = "draw what the network will see of a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, weights=False, optional=True)
    parser.add_argument("--annotations", help="annotation file, instead of a recipe")
    parser.add_argument("--images", help="image folder, with --annotations")
    parser.add_argument("--format", default="coco", choices=list(common.READERS))
    parser.add_argument("--masks", action="store_true", help="with --annotations: read instance masks")
    parser.add_argument("--split", default="train", choices=["train", "val", "test"])
    parser.add_argument("--count", type=int, default=8, help="images to show")
    parser.add_argument("--columns", type=int, help="images per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="browse.png", help="PNG to write")


def run(options: argparse.Namespace) -> None:
    import tensorflow as tf

    import kdet.data
    from kdet import visualize

    if options.count < 1:
        raise ValueError(f"--count must be at least 1; got {options.count}.")
    training = options.split == "train"
    pipeline = kdet.data.load(spec_of(options), training=training, batch_size=1, seed=options.seed)
    print(pipeline.report())
    print("  " + ", ".join(f"{name} {count}" for name, count in pipeline.index.counts().items()))
    images = []
    for inputs, targets in pipeline.dataset().take(options.count):
        images += visualize.draw_batch(inputs, targets, pipeline.class_names)
    sheet = visualize.grid(images, options.columns)
    tf.io.write_file(options.out, tf.io.encode_png(sheet))
    print(f"Wrote {options.out}: {len(images)} images as the network sees them.")


def spec_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the data section to show.

    Raises:
        ValueError: neither a recipe nor annotations are given, or both.
    """
    import kdet.data
    from kdet.config import Config

    if bool(options.recipe) == bool(options.annotations):
        raise ValueError("give either a recipe or --annotations.")
    if options.recipe:
        recipe = Config.load(options.recipe, overrides=options.set, check=False)
        return kdet.data.section(recipe, options.split)
    spec = {
        "annotations": options.annotations,
        "images": options.images,
        "type": common.READERS[options.format],
        "masks": options.masks,
    }
    return {key: value for key, value in spec.items() if value}  # defaults for the rest
