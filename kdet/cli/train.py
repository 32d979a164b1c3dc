"""Train a recipe: checkpoints, logs and weights go into a work directory.

kdet train retinanet_r50_fpn_1x --work-dir runs/first --set data.train.annotations=train.json ...
kdet train runs/first/config.yaml --work-dir runs/first --resume
"""

import argparse
import sys

from kdet.cli import common

HELP = "train a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, weights=False)
    parser.add_argument("--work-dir", required=True, help="checkpoints, logs and weights go here")
    parser.add_argument(
        "--strategy",
        default="auto",
        choices=["auto", "one", "mirrored", "multiworker"],
        help="how devices share the work (default auto: all GPUs of this machine)",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in there")


def run(options: argparse.Namespace) -> None:
    # The strategy must exist before anything else touches a device.
    from kdet.train.strategy import make_strategy

    strategy = make_strategy(options.strategy)
    from kdet.config import Config
    from kdet.train.engine import train

    config = Config.load(options.recipe, options.set)
    verbose = 1 if sys.stdout.isatty() else 2
    train(config, options.work_dir, strategy=strategy, resume=options.resume, verbose=verbose)
