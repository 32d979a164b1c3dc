"""Write a detector for use without kdet, pre- and post-processing inside; or, as a preset, to share it.

    kdet export mask_rcnn_r50_fpn_1x --out served/mask_rcnn/1
    kdet export my_config.yaml --weights mine.weights.h5 --out served/mine/1 --input 800x1344
    kdet export ssd300 --format tflite --dtype int8 --out ssd300.tflite
    kdet export mask_rcnn_r50_fpn_1x --format onnx --input 800x1344 --out mask_rcnn.onnx
    kdet export runs/cells/config.yaml --weights runs/cells/final.weights.h5 --format preset --out cells

docs/serving.md, docs/tflite.md and docs/onnx.md say what to do with the results.
"""

import argparse
import pathlib

from kdet.cli import common

HELP = "write a SavedModel, a file for TFLite, ONNX or OpenVINO, or a preset"
FORMATS = ["saved_model", "tflite", "onnx", "openvino", "preset"]
BOX_FORMATS = ("rel_yxyx", "rel_xyxy", "yxyx", "xyxy", "xywh")
SAVED_MODEL_ONLY = ("ops", "box_format", "label_offset", "masks")
# arguments in messages of the library -> options of this command
SPELLINGS = {"weights=None": "--weights none", "weights=": "--weights ", "check=False": "--no-check"}
# the library's names of the precisions, by those of the command; its own are taken too
DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int8": "int8", "dynamic": "dynamic"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser)
    parser.add_argument(
        "--out",
        type=common.path,
        required=True,
        help="folder (saved_model, openvino, preset) or file (tflite, onnx), or its URL",
    )
    parser.add_argument("--format", choices=FORMATS, default="saved_model")
    parser.add_argument(
        "--input", help="canvas: HEIGHTxWIDTH, 'buckets' or 'dynamic' (the default of saved_model)"
    )
    parser.add_argument("--batch", help="images per call, a number or 'dynamic' (the default of saved_model)")
    parser.add_argument(
        "--dtype",
        type=lambda name: DTYPES.get(name, name),
        choices=list(DTYPES.values()),
        metavar="{" + ",".join(DTYPES) + "}",
        help="precision (default: as the model computes)",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="do not run the file and compare it with the model"
    )
    served = parser.add_argument_group("saved_model only")
    served.add_argument(
        "--ops", choices=["portable", "compiled"], help="compiled: for programs that load kdet's library"
    )
    served.add_argument("--box-format", choices=BOX_FORMATS, help="of the boxes (default rel_yxyx)")
    served.add_argument(
        "--label-offset", type=common.whole_number(-(2**31)), help="number of the first class (default 1)"
    )
    served.add_argument("--masks", choices=["box", "image"], help="frame of the masks (default box)")


def run(options: argparse.Namespace) -> None:
    try:
        _run(options)
    except (ValueError, OSError, RuntimeError) as error:
        error.args = (spelled(str(error)),)
        raise


def _run(options: argparse.Namespace) -> None:
    from kdet import storage, zoo
    from kdet.export import target
    from kdet.export.formats import find_format
    from kdet.export.options import batch_of, shape_of
    from kdet.ops import compiled

    given = {
        "dtype": options.dtype,
        "ops": options.ops,
        "box_format": options.box_format,
        "label_offset": options.label_offset,
        "masks": options.masks,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if options.format != "saved_model" and not chosen.keys().isdisjoint(SAVED_MODEL_ONLY):
        raise ValueError(f"--format {options.format} has no {' or '.join(map(flag, SAVED_MODEL_ONLY))}.")
    if options.no_check and options.format == "saved_model":
        raise ValueError("--no-check: a SavedModel is not compared when it is written.")
    if options.no_check:
        chosen["check"] = False
    # what can be said before a model is built
    if options.input is not None:
        chosen["input_size"] = shape_of(options.input) or "dynamic"
    if options.batch is not None:
        chosen["batch"] = batch_of(options.batch) or "dynamic"
    target.check(options.out, find_format(options.format))
    if options.ops == "compiled":
        compiled.library()
    config, weights = common.load_recipe(options)
    if options.dtype == "int8" and options.format == "tflite":
        chosen["representative"] = config
    model = config.build("model")
    zoo.fill(model, config, weights)
    written = model.export(options.out, options.format, **chosen)
    size = "" if storage.is_url(written) else f": {size_of(pathlib.Path(written)) / 1e6:.1f} MB"
    print(f"{written}{size}")


def spelled(message: str) -> str:
    """Return a message of the library with its arguments as the options of this command."""
    for argument, option in SPELLINGS.items():
        message = message.replace(argument, option)
    return message


def flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def size_of(path: pathlib.Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
