"""Convert weights between PyTorch / MMDetection and kdet; PyTorch is not needed.

    kdet convert epoch_12.pth --recipe mask_rcnn_r50_fpn_1x                  # -> epoch_12.weights.h5
    kdet convert epoch_12.pth --recipe my_recipe.yaml --out my_model.keras
    kdet convert my_model.weights.h5 --recipe mask_rcnn_r50_fpn_1x --out my_model.pth
    kdet convert my_model.weights.h5 --recipe rtdetr_r18vd_6x --out model.safetensors --torch

The number of classes is taken from a .pth unless --num-classes says otherwise.
"""

import argparse
import pathlib

from kdet.cli import common
from kdet.config import Config
from kdet.convert.checkpoint import Checkpoint
from kdet.detectors import Detector
from kdet.writing import check_target

HELP = "convert weights from and to PyTorch"
KINDS = (".weights.h5", ".keras", ".safetensors", ".pth")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", type=common.path, help="a .pth file, or weights of kdet to write as one, or 'published'"
    )
    parser.add_argument(
        "--recipe", "--config", required=True, help="name of a recipe, or a YAML file", metavar="RECIPE"
    )
    parser.add_argument(
        "--out",
        type=common.path,
        help=f"one of *{' *'.join(KINDS)} (default: beside a .pth, as .weights.h5)",
    )
    parser.add_argument(
        "--num-classes",
        type=common.whole_number(1, 10**6),
        help="classes of the weights, where not the recipe's",
    )
    parser.add_argument(
        "--torch", action="store_true", help="write a .safetensors as Transformers does, not as kdet does"
    )
    parser.add_argument("--classes", nargs="*", help="class names to write into a .pth")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    parser.add_argument(
        "--legacy",
        action=argparse.BooleanOptionalAction,
        help="a .pth trained with MMDetection 1.x; found out by default, but an SSD file that names no "
        "version is taken for 2.x",
    )
    parser.add_argument(
        "--lenient", action="store_true", help="convert what fits and list the rest instead of failing"
    )


def run(options: argparse.Namespace) -> None:
    is_torch = options.weights.endswith((".pth", ".pt")) or _is_foreign(options.weights)
    if options.out is None and not is_torch:
        raise ValueError(f"{options.weights}: --out FILE.pth says where to write it.")
    out = pathlib.Path(options.out or pathlib.Path(options.weights).with_suffix(".weights.h5"))
    if not out.name.endswith(KINDS):
        raise ValueError(f"--out {out}: the name has to end in one of {', '.join(KINDS)}.")
    if options.torch and out.suffix != ".safetensors":
        raise ValueError(f"--torch is for a .safetensors file, not for {out.name}.")
    check_target(out, folder=False, what=KINDS[0])
    print(f"{out}: {from_torch(options, out) if is_torch else from_kdet(options, out)}")


def _is_foreign(weights: str) -> bool:
    """Whether a ``.safetensors`` file is another library's."""
    from kdet.convert import cache

    return weights.endswith(".safetensors") and pathlib.Path(weights).is_file() and not cache.is_own(weights)


def from_torch(options: argparse.Namespace, out: pathlib.Path) -> str:
    """Convert a ``.pth``; return what was filled."""
    from kdet import convert
    from kdet.config import Config

    checkpoint = convert.read_checkpoint(options.weights)
    model = build(Config.load(options.recipe, options.set), options.num_classes, checkpoint)
    report = convert.load_checkpoint(
        model,
        options.weights,
        strict=not options.lenient,
        allow_mismatch=options.lenient,
        legacy=options.legacy,
    )
    write(model, out, options.classes, options.torch)
    return str(report)


def from_kdet(options: argparse.Namespace, out: pathlib.Path) -> str:
    """Write weights of kdet, or published ones, in another format."""
    from kdet import zoo

    model = zoo.load(options.recipe, weights=options.weights, num_classes=options.num_classes)
    return write(model, out, options.classes, options.torch)


def write(model: Detector, out: pathlib.Path, classes: list[str] | None, torch: bool = False) -> str:
    """Write a model's weights in the format that the file's ending names."""
    from kdet import convert
    from kdet.convert import cache

    if out.suffix == ".pth" or torch:
        return f"{convert.save_checkpoint(model, out, classes=classes)} tensors"
    if out.suffix == ".safetensors":
        cache.save_weights(model, out)
    elif out.suffix == ".keras":
        model.save(out)
    else:
        model.save_weights(out)
    return f"{len(model.weights)} tensors"


def build(config: Config, num_classes: int | None, checkpoint: Checkpoint) -> Detector:
    """Return the detector, with the checkpoint's number of classes where the recipe has any."""
    from kdet import zoo
    from kdet.overrides import label_count

    classes = num_classes or len(checkpoint.classes or ()) or None
    if classes is not None and (num_classes or classes != label_count(config["model"])):
        try:
            zoo.set_num_classes(config, classes)
        except ValueError:
            if num_classes:
                raise
    return config.build("model")
