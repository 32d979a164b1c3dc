"""Look up the published models.

    kdet zoo list "mask_rcnn*"
    kdet zoo info mask_rcnn_r50_fpn_1x

Figures are the reference's published ones.
"""

import argparse

HELP = "look up the published models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["list", "info"])
    parser.add_argument("name", nargs="?", help="list: a shell pattern (default *); info: a name or alias")


def run(options: argparse.Namespace) -> None:
    from kdet import zoo

    if options.action == "info":
        if not options.name:
            raise ValueError("info needs the name of a model; `kdet zoo list` shows them.")
        print(zoo.info(options.name))
        return
    names = zoo.list(options.name or "*")
    if not names:
        raise ValueError(f"No recipe matches {options.name!r}; `kdet zoo list` shows all.")
    for name in names:
        known = zoo.info(name)
        figures = [f"{ap:.1f}" if ap else "-" for ap in (known.box_ap, known.mask_ap)]
        print(f"{name:64} box AP {figures[0]:>5}  mask AP {figures[1]:>5}  {known.family}")
