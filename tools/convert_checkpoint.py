"""Converts a PyTorch checkpoint of MMDetection into weights of a kdet model.

    python tools/convert_checkpoint.py epoch_12.pth --config mask_rcnn_r50_fpn_1x
    python tools/convert_checkpoint.py epoch_12.pth --config my_recipe.yaml --out my_model.keras

The number of classes is taken from the checkpoint unless --num-classes says otherwise.
"""

import argparse
import pathlib

from kdet import convert, zoo
from kdet.cli import add_debug, guard
from kdet.config import Config
from kdet.convert.cache import save_weights
from kdet.errors import KdetError

KINDS = (".weights.h5", ".keras", ".safetensors")


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=pathlib.Path, help="the .pth file")
    parser.add_argument("--config", required=True, help="name of a recipe, or a YAML file")
    parser.add_argument("--out", type=pathlib.Path, help="one of *" + " *".join(KINDS))
    parser.add_argument("--num-classes", type=int, help="classes of the checkpoint")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the recipe"
    )
    parser.add_argument(
        "--legacy",
        action=argparse.BooleanOptionalAction,
        help="trained with MMDetection 1.x; found out by default, but an SSD file that names no version "
        "is taken for 2.x",
    )
    parser.add_argument(
        "--lenient", action="store_true", help="convert what fits and list the rest instead of failing"
    )
    add_debug(parser)
    return parser.parse_args(argv)


def build(config, num_classes, checkpoint):
    """The detector, with the checkpoint's number of classes where the recipe has any."""
    classes = num_classes or len(checkpoint.classes or ()) or None
    if classes is not None:
        try:
            zoo.set_num_classes(config, classes)
        except ValueError:
            if num_classes:
                raise
    return config.build("model")


def main(argv=None):
    arguments = parse(argv)
    with guard("convert_checkpoint", arguments.debug):
        run(arguments)


def run(arguments):
    """Converts as the arguments say."""
    out = arguments.out or arguments.checkpoint.with_suffix(".weights.h5")
    if not out.name.endswith(KINDS):
        raise KdetError(f"--out {out}: the name has to end in one of {', '.join(KINDS)}.")
    checkpoint = convert.read_checkpoint(arguments.checkpoint)
    config = Config.load(arguments.config, arguments.set)
    model = build(config, arguments.num_classes, checkpoint)
    report = convert.load_checkpoint(
        model,
        arguments.checkpoint,
        strict=not arguments.lenient,
        allow_mismatch=arguments.lenient,
        legacy=arguments.legacy,
    )
    if out.suffix == ".safetensors":
        save_weights(model, out)
    elif out.suffix == ".keras":
        model.save(out)
    else:
        model.save_weights(out)
    print(f"{out}: {report}")


if __name__ == "__main__":
    main()
