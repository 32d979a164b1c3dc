"""Draws what the network will see: training (or evaluation) batches with boxes, masks and padding.

python tools/browse.py CONFIG --out sheet.png [--split train] [--count 8]
python tools/browse.py --annotations a.json --images pictures/ --masks --out sheet.png
"""

import argparse

import tensorflow as tf

import kdet.data
from kdet import visualize
from kdet.cli import add_debug, guard
from kdet.config import Config


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="recipe whose data section is shown")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe"
    )
    parser.add_argument("--annotations", help="annotation file, instead of a recipe")
    parser.add_argument("--images", help="picture folder, with --annotations")
    parser.add_argument("--format", default="coco", choices=["coco", "voc", "tfrecord"])
    parser.add_argument("--masks", action="store_true", help="with --annotations: read instance masks")
    parser.add_argument("--split", default="train", choices=["train", "val", "test"])
    parser.add_argument("--count", type=int, default=8, help="pictures to show")
    parser.add_argument("--columns", type=int, help="pictures per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="browse.png", help="PNG to write")
    add_debug(parser)
    options = parser.parse_args(arguments)
    if bool(options.config) == bool(options.annotations):
        parser.error("give either a recipe or --annotations")
    with guard("browse", options.debug):
        write_sheet(spec_of(options), options)


def spec_of(options):
    """The data section to show."""
    if options.config:
        recipe = Config.load(options.config, overrides=options.set, check=False)
        return kdet.data.section(recipe, options.split)
    spec = {key: getattr(options, key) for key in ("annotations", "images", "format", "masks")}
    return {key: value for key, value in spec.items() if value}  # defaults for the rest


def write_sheet(spec, options):
    training = options.split == "train"
    pipeline = kdet.data.load(spec, training=training, batch_size=1, seed=options.seed)
    print(pipeline.report())
    print("  " + ", ".join(f"{name} {count}" for name, count in pipeline.index.counts().items()))
    pictures = []
    for inputs, targets in pipeline.dataset().take(options.count):
        pictures += visualize.draw_batch(inputs, targets, pipeline.class_names)
    sheet = visualize.grid(pictures, options.columns)
    tf.io.write_file(options.out, tf.io.encode_png(sheet))
    print(f"Wrote {options.out}: {len(pictures)} pictures as the network sees them.")


if __name__ == "__main__":
    main()
