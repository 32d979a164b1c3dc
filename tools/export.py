"""Writes a detector for use without kdet, pre- and post-processing inside.

python tools/export.py mask_rcnn_r50_fpn_1x --out served/mask_rcnn/1
python tools/export.py my_config.yaml --weights mine.weights.h5 --out served/mine/1 --input 800x1344
python tools/export.py ssd300 --format tflite --dtype int8 --out ssd300.tflite

docs/serving.md and docs/tflite.md say what to do with the results.
"""

import argparse
import logging
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


SAVED_MODEL_ONLY = ("ops", "box_format", "label_offset", "masks")


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of a recipe that ships with kdet, or a YAML file")
    parser.add_argument(
        "--weights", default="published", help="file, 'published' (default), or 'none': untrained, for trials"
    )
    parser.add_argument("--out", required=True, help="folder of the SavedModel, or the .tflite file")
    parser.add_argument("--format", choices=["saved_model", "tflite"], default="saved_model")
    parser.add_argument("--input", help="canvas, HEIGHTxWIDTH or 'dynamic' (the default of saved_model)")
    parser.add_argument(
        "--batch", help="pictures per call, a number or 'dynamic' (the default of saved_model)"
    )
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16", "int8", "dynamic"])
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE")
    served = parser.add_argument_group("saved_model only")
    served.add_argument(
        "--ops", choices=["portable", "compiled"], help="compiled: for programs that load kdet's library"
    )
    served.add_argument("--box-format", help="rel_yxyx (default), rel_xyxy, yxyx, xyxy or xywh")
    served.add_argument("--label-offset", type=int, help="number of the first class (default 1)")
    served.add_argument("--masks", choices=["box", "picture"], help="frame of the masks (default box)")
    parser.add_argument("--debug", action="store_true", help="show the whole stack of an error")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from kdet.cli import guard

    with guard("export", options.debug, spelled):
        run(options)


def run(options):
    from kdet import zoo
    from kdet.config import Config
    from kdet.export import target
    from kdet.export.options import batch_of, shape_of
    from kdet.ops import compiled

    chosen = {key: getattr(options, key) for key in ("dtype", *SAVED_MODEL_ONLY)}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if options.format != "saved_model" and not chosen.keys().isdisjoint(SAVED_MODEL_ONLY):
        raise ValueError(f"--format {options.format} has no {' or '.join(map(flag, SAVED_MODEL_ONLY))}.")
    # what can be said before a model is built
    if options.input is not None:
        chosen["input_size"] = shape_of(options.input) or "dynamic"
    if options.batch is not None:
        chosen["batch"] = batch_of(options.batch) or "dynamic"
    target.check(options.out, options.format)
    if options.ops == "compiled":
        compiled.library()
    config = Config.load(options.name, options.set)
    if options.dtype == "int8" and options.format == "tflite":
        chosen["representative"] = config
    model = config.build("model")
    zoo.fill(model, config, None if options.weights == "none" else options.weights)
    written = model.export(options.out, options.format, **chosen)
    print(f"{written}: {size_of(pathlib.Path(written)) / 1e6:.1f} MB")


def spelled(message):
    """A message of the library with its arguments as the options of this tool."""
    return message.replace("weights=None", "--weights none").replace("weights=", "--weights ")


def flag(key):
    return "--" + key.replace("_", "-")


def size_of(path):
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


if __name__ == "__main__":
    main()
