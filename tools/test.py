"""Scores a detector on a dataset: ``python tools/test.py CONFIG --weights FILE``."""

import argparse
import json
import logging
import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="name of a recipe that ships with kdet, or a YAML file")
    parser.add_argument("--weights", default="published", help="file, or 'published' (default)")
    parser.add_argument(
        "--metric",
        nargs="+",
        choices=["bbox", "segm", "proposal", "voc07", "voc12"],
        help="default: data.metrics of the recipe",
    )
    parser.add_argument(
        "--split", choices=["val", "test", "train"], help="default: test if there is one, else val"
    )
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--dtype", default="float32", help="Keras dtype policy, for instance mixed_bfloat16")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the views of the recipe's section `test` (scales, flip), else mirrored",
    )
    parser.add_argument("--out", help="write the detections as a COCO result file")
    parser.add_argument("--figures", help="write the figures as JSON")
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--debug", action="store_true", help="show the whole stack of an error")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from kdet.cli import guard

    with guard("test", options.debug):
        figures = score(options)
        for name, value in figures.items():
            print(f"{name:24} {value:.4f}")
        if options.figures:
            with open(options.figures, "w") as file:
                json.dump({k: v if math.isfinite(v) else None for k, v in figures.items()}, file, indent=1)


def score(options):
    """The figures that the options ask for."""
    import keras

    from kdet import data, zoo
    from kdet.config import Config
    from kdet.evaluation import evaluate

    config = Config.load(options.config, options.set)
    split = options.split or ("test" if config.get("data", {}).get("test") else "val")
    # One pass over the pictures as they are: nothing of a training split's augmentation.
    spec = {k: v for k, v in data.section(config, split).items() if k not in ("flip", "crop", "repeat")}
    pipeline = data.load(spec, batch_size=options.batch_size)
    print(pipeline.report())
    keras.config.set_dtype_policy(options.dtype)
    model = config.build("model")
    zoo.fill(model, config, options.weights)
    metrics = options.metric or config["data"].get("metrics", ["bbox"])
    total = len(pipeline.index)

    def progress(done):
        if sys.stderr.isatty():
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr)

    augment = (config.get("test") or True) if options.tta else None
    return evaluate(model, pipeline, metrics, out=options.out, progress=progress, augment=augment)


if __name__ == "__main__":
    main()
