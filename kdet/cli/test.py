"""Score a detector on a data set.

kdet test retinanet_r50_fpn_1x --set data.val.annotations=val.json data.val.images=images/
kdet test runs/first/config.yaml --weights runs/first/final.weights.h5
"""

import argparse
import json
import math
from typing import TYPE_CHECKING

from kdet.cli import common
from kdet.writing import check_target, whole

if TYPE_CHECKING:
    import tensorflow as tf

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
    parser.add_argument("--batch-size", type=common.whole_number(1, 2**16), default=1)
    common.add_strategy(parser)
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the views of the recipe's section `test` (scales, flip), else mirrored",
    )
    parser.add_argument("--out", type=common.path, help="write the detections as a COCO result file")
    parser.add_argument("--figures", type=common.path, help="write the figures as JSON")


def run(options: argparse.Namespace) -> None:
    for target in (options.out, options.figures):
        if target:
            check_target(target, folder=False, what="JSON")
    # The strategy must exist before anything else touches a device.
    from kdet.train.strategy import make_strategy, worker

    strategy = make_strategy(options.strategy)
    figures = score(options, strategy)
    if worker()[0]:
        return  # the first worker says and writes it
    for name, value in figures.items():
        print(f"{name:24} {value:.4f}")
    if options.figures:
        with whole(options.figures) as part:  # JSON has no NaN: a figure without ground truth is null
            plain = {name: value if math.isfinite(value) else None for name, value in figures.items()}
            part.write_text(json.dumps(plain, indent=1, allow_nan=False), encoding="utf-8")


def score(options: argparse.Namespace, strategy: "tf.distribute.Strategy") -> dict[str, float]:
    """Return the figures that the options ask for; the replicas of the strategy share the work."""
    from kdet import data
    from kdet.detectors.replicas import Place
    from kdet.evaluation import evaluate
    from kdet.evaluation.metrics import find

    config, _ = common.load_recipe(options)
    for metric in options.metric or ():
        find(metric)
    split = options.split or ("test" if config.get("data", {}).get("test") else "val")
    pipeline = data.load(data.section(config, split), batch_size=options.batch_size)
    place = Place.of(strategy)
    if place.is_chief:
        print(pipeline.report())
    with strategy.scope():
        config, model = common.load_model(options)
    metrics = options.metric or config["data"].get("metrics", ["bbox"])
    augment = (config.get("test") or True) if options.tta else None
    with common.progress_bar(len(pipeline.index), shown=place.is_chief) as bar:
        return evaluate(
            model,
            pipeline,
            metrics,
            out=options.out,
            progress=lambda done: bar.update(done - bar.n),
            augment=augment,
        )
