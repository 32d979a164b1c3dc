"""Writes a kdet model as a PyTorch checkpoint that MMDetection 2.x loads.

python tools/export_checkpoint.py my_model.weights.h5 --config mask_rcnn_r50_fpn_1x --out my_model.pth
"""

import argparse

from kdet import convert, zoo
from kdet.cli import add_debug, guard
from kdet.errors import KdetError


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="a file with weights of kdet, or 'published'")
    parser.add_argument("--config", required=True, help="name of a recipe, or a YAML file")
    parser.add_argument("--out", required=True, help="the .pth file to write")
    parser.add_argument("--num-classes", type=int, help="classes of the weights, where not the recipe's")
    parser.add_argument("--classes", nargs="*", help="class names to write into the checkpoint")
    add_debug(parser)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    with guard("export_checkpoint", arguments.debug):
        if not arguments.out.endswith(".pth"):
            raise KdetError(f"--out {arguments.out}: the name has to end in .pth.")
        model = zoo.load(arguments.config, weights=arguments.weights, num_classes=arguments.num_classes)
        count = convert.save_checkpoint(model, arguments.out, classes=arguments.classes)
    print(f"{arguments.out}: {count} tensors")


if __name__ == "__main__":
    main()
