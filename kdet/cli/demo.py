"""Serve a page on this machine to try detectors in a browser.

    kdet demo mask_rcnn_r50_fpn_1x faster_rcnn_r50_fpn_1x
    kdet demo runs/cells
    kdet demo --rest http://localhost:8501 --served mask_rcnn

Drop images, move the score threshold, see boxes, masks and a table, download JSON. Models are recipes, work
directories of runs and presets, or what a TensorFlow Serving server has (docs/serving.md).
"""

import argparse

from kdet.cli import common

HELP = "serve a page to try detectors in a browser"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", type=common.path, help="recipes, work directories of runs, presets"
    )
    parser.add_argument(
        "--weights",
        type=common.path,
        default="published",
        help="of all models that are recipes; 'none': untrained, for trials",
    )
    parser.add_argument("--rest", metavar="URL", help="a TensorFlow Serving server, http://host:8501")
    parser.add_argument("--served", nargs="+", default=[], metavar="NAME", help="models of the server")
    parser.add_argument("--classes", nargs="+", help="names of the classes of the server's models")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=common.whole_number(0, 65535), default=7860)


def run(options: argparse.Namespace) -> None:
    from kdet import page, presets, zoo
    from kdet.config import Config
    from kdet.errors import KdetError

    if bool(options.rest) != bool(options.served):
        raise KdetError("--rest URL and --served NAME go together.")
    models: dict[str, page.Model] = {}
    for name in options.models:
        weights = None if options.weights == "none" else options.weights
        # what is wrong is said before the page is there
        recipe, own = presets.resolve(name, weights)
        Config.load(recipe).section("model")
        zoo.check_weights(own)
        models[name] = page.Local(name, weights)
    for name in options.served:
        models[f"{name} at {options.rest}"] = page.Served(options.rest, name, options.classes)
    if not models:
        raise KdetError("Name a model: a recipe (`kdet zoo list`), a work directory or a preset.")
    page.build(models).launch(server_name=options.host, server_port=options.port, show_error=True)
