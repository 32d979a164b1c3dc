"""Find out what a detector does wrong: an HTML report with plots and images.

    kdet analyze runs/first --out report
    kdet analyze runs/first/config.yaml --results detections.json --out report
    kdet analyze --logs runs/first runs/second --out curves

Precision over recall, AP by class and size, kinds of errors and what each costs (TIDE), the confusion matrix,
the worst images beside the truth, and the curves of one or several training runs. detections.json is a COCO
result file, as `kdet test --out` writes it.
"""

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from kdet.cli import common

if TYPE_CHECKING:
    from kdet.data import DatasetIndex

HELP = "find out what a detector does wrong: a report with plots and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, optional=True)
    common.add_dtype(parser)
    common.add_data(parser)
    parser.add_argument(
        "--results", type=common.path, help="a COCO result file, instead of running the detector"
    )
    parser.add_argument(
        "--split", choices=["val", "test", "train"], help="default: test if there is one, else val"
    )
    parser.add_argument("--of", choices=["bbox", "segm"], default="bbox", help="boxes (default) or masks")
    parser.add_argument(
        "--min-score",
        type=common.share,
        default=0.3,
        help="of the confusion matrix and the drawn images (default 0.3)",
    )
    parser.add_argument("--batch-size", type=common.whole_number(1, 2**16), default=1)
    parser.add_argument(
        "--logs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="work directories, or log.jsonl files",
    )
    parser.add_argument("--out", required=True, type=common.folder, help="folder for the report")


def run(options: argparse.Namespace) -> None:
    from kdet.analysis import report
    from kdet.analysis.logs import read_log
    from kdet.writing import check_target

    check_target(options.out, folder=True, what="report")
    if not options.recipe and not options.logs:
        raise ValueError("give a recipe, or --logs with training runs.")
    runs = options.logs
    if not runs and options.recipe and (pathlib.Path(options.recipe) / "log.jsonl").is_file():
        runs = [options.recipe]  # the folder of a run
    logs = {name: read_log(name) for name in runs}
    if not options.recipe:
        print(f"Wrote {report.write_report(options.out, logs=logs)}.")
        return
    index, results = detections(options)
    found = report.analyze(index.to_coco(), results, options.of, options.min_score)
    path = report.write_report(options.out, found, index, results, logs)
    print(f"AP {found.curves.overall['AP']:.3f}, AP50 {found.errors.ap / 100:.3f}")
    for kind, cost in sorted(found.errors.costs.items(), key=lambda item: -item[1]):
        print(f"  {kind:5} {found.errors.counts[kind]:6} errors cost {cost:5.2f} points of AP50")
    print(f"Wrote {path}.")


def detections(options: argparse.Namespace) -> "tuple[DatasetIndex, list[dict[str, Any]]]":
    """Return the data set and the detections, read or made."""
    from kdet import data
    from kdet.data import files
    from kdet.errors import DataError
    from kdet.evaluation import runner

    if options.results:
        options.weights = "none"  # no model is built
    config, weights = common.load_recipe(options)
    common.over_own_data(config, options)
    split = options.split or ("test" if config.get("data", {}).get("test") else "val")
    section = data.section(config, split)
    if options.of == "segm":
        section["masks"] = True
    pipeline = data.load(section, batch_size=options.batch_size)
    print(pipeline.report())
    if options.results:
        results = files.read_json(options.results, "result file")
        known = {"image_id", "category_id", "score"}
        if not isinstance(results, list) or not all(isinstance(r, dict) and known <= set(r) for r in results):
            raise DataError(f"{options.results} is no COCO result file: a list of mappings with {known}.")
        return pipeline.index, results
    model = common.build_model(config, options, weights)
    with common.progress_bar(len(pipeline.index)) as bar:
        found = runner.collect(model, pipeline, progress=lambda done: bar.update(done - bar.n))
    (options.out).mkdir(parents=True, exist_ok=True)
    found.save(options.out / "detections.json")
    return pipeline.index, list(found.entries)
