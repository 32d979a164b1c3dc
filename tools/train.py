"""Trains a recipe: ``python tools/train.py CONFIG --work-dir DIR``."""

import argparse
import logging
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="name of a recipe that ships with kdet, or a YAML file")
    parser.add_argument("--work-dir", required=True, help="checkpoints, logs and weights go here")
    parser.add_argument("--strategy", default="auto", choices=["auto", "one", "mirrored", "multiworker"])
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in there")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe, for example --set train.epochs=24 model.num_classes=3",
    )
    parser.add_argument("--debug", action="store_true", help="show the whole stack of an error")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    # The strategy must exist before anything else touches a device.
    from kdet.train.strategy import make_strategy

    strategy = make_strategy(options.strategy)
    from kdet.cli import guard
    from kdet.config import Config
    from kdet.train.engine import train

    verbose = 1 if sys.stdout.isatty() else 2
    with guard("train", options.debug):
        config = Config.load(options.config, options.set)
        train(config, options.work_dir, strategy=strategy, resume=options.resume, verbose=verbose)


if __name__ == "__main__":
    main()
