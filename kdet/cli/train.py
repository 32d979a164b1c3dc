"""Train a recipe: checkpoints, logs and weights go into a work directory.

kdet train retinanet_r50_fpn_1x --data mine/data.yaml --work-dir runs/first
kdet train my_recipe.yaml --work-dir runs/second --set train.epochs=24
kdet train runs/first/config.yaml --work-dir runs/first --resume
kdet train rtmdet_s_300e --work-dir /shared/runs/third --ray workers=4,gpus=1
kdet train my_recipe.yaml --work-dir runs/third --resume auto
kdet train my_recipe.yaml --work-dir s3://bucket/runs/fourth --resume auto
"""

import argparse
import sys

from kdet.cli import common

HELP = "train a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, weights=False)
    common.add_data(parser)
    parser.add_argument(
        "--work-dir", type=common.path, required=True, help="checkpoints, logs and weights go here"
    )
    common.add_strategy(parser)
    common.add_ray(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="yes",
        choices=["yes", "auto"],
        help="continue from the newest checkpoint in there; auto: start where there is none",
    )


def run(options: argparse.Namespace) -> None:
    if options.ray is not None:
        train_on_cluster(options)
        return
    # The strategy must exist before anything else touches a device.
    from kdet.train.strategy import make_strategy

    strategy = make_strategy(options.strategy)
    from kdet.config import Config
    from kdet.train.engine import train
    from kdet.writing import check_target

    check_target(options.work_dir, folder=True, what="run")
    config = common.over_own_data(Config.load(options.recipe, options.set), options)
    verbose = 1 if sys.stdout.isatty() else 2
    resume = options.resume if options.resume == "auto" else options.resume is not None
    train(config, options.work_dir, strategy=strategy, resume=resume, verbose=verbose)


def train_on_cluster(options: argparse.Namespace) -> None:
    """Train on the workers of Ray."""
    from kdet.cluster import Workers, train_on_ray
    from kdet.config import Config
    from kdet.errors import KdetError
    from kdet.writing import check_target

    workers = Workers.parse(options.ray)
    if options.strategy != "auto":
        raise KdetError(f"--ray chooses the strategy; leave --strategy {options.strategy} out.")
    check_target(options.work_dir, folder=True, what="run")
    config = common.over_own_data(Config.load(options.recipe, options.set), options)
    train_on_ray(config, options.work_dir, workers, resume=options.resume is not None)
