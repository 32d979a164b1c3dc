"""Draw what the network will see: training (or evaluation) batches with boxes, masks and padding.

kdet browse my_recipe.yaml --out sheet.png --split train --count 8
kdet browse --data mine/data.yaml --split val --out sheet.png
kdet browse --annotations a.json --images images/ --masks --out sheet.png
"""

import argparse
from typing import Any

from kdet.cli import common

HELP = "draw what the network will see of a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, weights=False, optional=True)
    parser.add_argument("--annotations", type=common.path, help="annotation file, instead of a recipe")
    parser.add_argument("--images", type=common.path, help="image folder, with --annotations")
    parser.add_argument("--format", help="of --annotations, where it is not found out: coco, yolo, voc ...")
    parser.add_argument(
        "--data", type=common.path, metavar="PATH", help="a data set with splits, instead of a recipe"
    )
    parser.add_argument("--masks", action="store_true", help="with --annotations: read instance masks")
    parser.add_argument("--split", default="train", choices=["train", "val", "test"])
    parser.add_argument("--count", type=common.whole_number(1, 10_000), default=8, help="images to show")
    parser.add_argument("--columns", type=common.whole_number(1, 10_000), help="images per row")
    parser.add_argument("--seed", type=common.whole_number(0), default=0)
    parser.add_argument("--out", type=common.path, default="browse.png", help="PNG to write")


def run(options: argparse.Namespace) -> None:
    import tensorflow as tf

    import kdet.data
    from kdet import visualize
    from kdet.writing import check_target, whole

    check_target(options.out, folder=False, what="PNG")
    training = options.split == "train"
    pipeline = kdet.data.load(spec_of(options), training=training, batch_size=1, seed=options.seed)
    print(pipeline.report())
    print("  " + ", ".join(f"{name} {count}" for name, count in pipeline.index.counts().items()))
    images = []
    for inputs, targets in pipeline.dataset().take(options.count):
        images += visualize.draw_batch(inputs, targets, pipeline.class_names)
    sheet = visualize.grid(images, options.columns)
    with whole(options.out) as part:
        part.write_bytes(tf.io.encode_png(sheet).numpy())
    print(f"Wrote {options.out}: {len(images)} images as the network sees them.")


def spec_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the data section to show.

    Raises:
        ValueError: not one of a recipe, annotations and a data set is given.
    """
    import kdet.data
    from kdet.config import Config
    from kdet.data.recognize import one_data_set

    given = [one for one in (options.recipe, options.annotations, options.data) if one]
    if len(given) != 1:
        raise ValueError("give either a recipe, --annotations or --data.")
    if options.recipe:
        recipe = Config.load(options.recipe, overrides=options.set, check=False)
        return kdet.data.section(recipe, options.split)
    split = options.split if options.data else None
    spec = one_data_set(given[0], split, format=options.format, images=options.images)
    return {**spec, "masks": options.masks}
