"""Look up the published models, fetch their weights, share one's own.

    kdet zoo list "mask_rcnn*"
    kdet zoo list --task instance --min-ap 42
    kdet zoo recommend --task instance --budget-ms 500
    kdet zoo info mask_rcnn_r50_fpn_1x
    kdet zoo info my_recipe.yaml --flops --size 640x640
    kdet zoo fetch "mask_rcnn_r50*"
    kdet zoo upload cells hf://user/cells

Figures are the reference's published ones, except those of --flops, which are counted.
"""

import argparse

HELP = "look up published models, fetch their weights, share a preset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["list", "recommend", "info", "fetch", "upload"])
    parser.add_argument(
        "name",
        nargs="?",
        help="list, fetch: a shell pattern; info: a name or alias; upload: the folder of a preset",
    )
    parser.add_argument(
        "address", nargs="?", help="upload: hf://user/model or kaggle://user/model/keras/variation"
    )
    parser.add_argument(
        "--task",
        choices=["detection", "instance", "panoptic", "proposal"],
        help="list, recommend: models that give boxes, masks, panoptic maps or proposals",
    )
    parser.add_argument(
        "--budget-ms", type=float, metavar="MS", help="recommend: longest time for an image, as measured"
    )
    parser.add_argument("--device", help="recommend: on which machine (configs/latency.csv)")
    parser.add_argument(
        "--min-ap", type=float, metavar="PERCENT", help="list: of the published figure of the task"
    )
    parser.add_argument(
        "--weights", choices=["published", "imagenet"], default="published", help="what fetch fetches"
    )
    parser.add_argument(
        "--private", action="store_true", help="upload: a model that is made now is not public"
    )
    parser.add_argument(
        "--flops", action="store_true", help="info: count parameters, FLOPs and activations (about a minute)"
    )
    parser.add_argument(
        "--size",
        default="800x1280",
        metavar="HEIGHTxWIDTH",
        help="info --flops: of the network's input (default 800x1280, as papers have it)",
    )


def run(options: argparse.Namespace) -> None:
    from kdet import zoo

    if options.address is not None and options.action != "upload":
        raise ValueError(f"{options.action} takes one name, not {options.address!r} too.")
    if options.action == "upload":
        if options.address is None:
            raise ValueError("upload needs the folder of a preset and an address such as hf://user/model.")
        print(zoo.upload(options.name, options.address, private=options.private))
        return
    if options.action == "fetch":
        if not options.name:
            raise ValueError("fetch needs a pattern, for example 'mask_rcnn_r50*'.")
        for file in sorted({*zoo.fetch(options.name, options.weights).values()}):
            print(file)
        return
    if options.action == "recommend":
        for choice in zoo.recommend(options.task or "detection", options.budget_ms, options.device):
            print(choice)
        return
    if options.action == "info":
        if not options.name:
            raise ValueError("info needs the name of a model; `kdet zoo list` shows them.")
        print(zoo.info(options.name))
        if options.flops:
            print("\n".join(count(options)))
        return
    names = zoo.list(options.name or "*", task=options.task, min_ap=options.min_ap)
    if not names:
        asked = {"": options.name, "task ": options.task, "AP from ": options.min_ap}
        words = ", ".join(f"{what}{value!r}" for what, value in asked.items() if value is not None)
        raise ValueError(f"No recipe matches {words}; `kdet zoo list` shows all.")
    for name in names:
        known = zoo.info(name)
        figures = [f"{ap:.1f}" if ap else "-" for ap in (known.box_ap, known.mask_ap)]
        print(f"{name:64} box AP {figures[0]:>5}  mask AP {figures[1]:>5}  {known.family}")


def count(options: argparse.Namespace) -> list[str]:
    """Return the lines on what the model costs."""
    from kdet.analysis.cost import cost
    from kdet.config import Config

    sides = options.size.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--size {options.size}: write HEIGHTxWIDTH, for example 800x1280.")
    model = Config.load(options.name).build("model")
    return cost(model, (int(sides[0]), int(sides[1]))).lines()
