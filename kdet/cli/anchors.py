"""Fit the anchors of a recipe to a data set (k-means and differential evolution) and print its new lines.

kdet anchors yolov3_d53_mstrain-608_273e_coco --data mine/data.yaml --out mine.yaml
kdet anchors my_recipe.yaml
"""

import argparse
import pathlib

import yaml

from kdet.cli import common

HELP = "fit the anchors of a recipe to a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser, weights=False)
    common.add_data(parser)
    parser.add_argument("--seed", type=common.whole_number(0), default=0)
    parser.add_argument(
        "--rounds",
        type=common.whole_number(1, 10**6),
        default=60,
        help="generations of the evolution (default 60)",
    )
    parser.add_argument(
        "--out", type=common.folder, help="write a recipe over RECIPE with the new anchors (a YAML file)"
    )


def run(options: argparse.Namespace) -> None:
    from kdet import data
    from kdet.config import Config
    from kdet.curation import anchors
    from kdet.writing import check_target

    if options.out:
        check_target(options.out, folder=False, what="YAML")
    config = common.over_own_data(Config.load(options.recipe, options.set), options)
    index = data.read_index({**data.section(config, "train"), "masks": False})
    print(index.report())
    found = anchors.fit(index, config, options.seed, options.rounds)
    print(f"mean IoU of {found.boxes} boxes with their best anchor: {found.before:.3f} -> {found.after:.3f}")
    print(f"boxes with an IoU of 0.5 or more: {found.recall_before:.1%} -> {found.recall_after:.1%}")
    nested: object = found.spec
    for key in reversed(found.key.split(".")):
        nested = {key: nested}
    text = yaml.safe_dump(nested, sort_keys=False, default_flow_style=None, width=100)
    print(text, end="")
    if options.out:
        base = (
            str(pathlib.Path(options.recipe).resolve())
            if config.path and pathlib.Path(options.recipe).exists()
            else options.recipe
        )
        options.out.write_text(f"_base_: {base}\n{text}", encoding="utf-8")
        print(f"Wrote {options.out}.")
