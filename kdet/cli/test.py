"""Score a detector on a data set.

kdet test retinanet_r50_fpn_1x --set data.val.annotations=val.json data.val.images=images/
kdet test runs/first/config.yaml --weights runs/first/final.weights.h5
"""

import argparse
import json
import pathlib

from kdet.cli import common

HELP = "score a detector on a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser)
    common.add_dtype(parser)
    parser.add_argument(
        "--metric", nargs="+", help="default: data.metrics of the recipe; kdet.settings.METRICS lists all"
    )
    parser.add_argument(
        "--split", choices=["val", "test", "train"], help="default: test if there is one, else val"
    )
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the views of the recipe's section `test` (scales, flip), else mirrored",
    )
    parser.add_argument("--out", help="write the detections as a COCO result file")
    parser.add_argument("--figures", type=pathlib.Path, help="write the figures as JSON")


def run(options: argparse.Namespace) -> None:
    figures = score(options)
    for name, value in figures.items():
        print(f"{name:24} {value:.4f}")
    if options.figures:
        options.figures.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def score(options: argparse.Namespace) -> dict[str, float]:
    """Return the figures that the options ask for."""
    from kdet import data
    from kdet.config import Config
    from kdet.evaluation import evaluate
    from kdet.evaluation.metrics import find

    config = Config.load(options.recipe, options.set)
    for metric in options.metric or ():
        find(metric)
    split = options.split or ("test" if config.get("data", {}).get("test") else "val")
    pipeline = data.load(data.section(config, split), batch_size=options.batch_size)
    print(pipeline.report())
    config, model = common.load_model(options)
    metrics = options.metric or config["data"].get("metrics", ["bbox"])
    augment = (config.get("test") or True) if options.tta else None
    with common.progress_bar(len(pipeline.index)) as bar:
        return evaluate(
            model,
            pipeline,
            metrics,
            out=options.out,
            progress=lambda done: bar.update(done - bar.n),
            augment=augment,
        )
