"""Arguments that several commands share, spelled the same way everywhere."""

import argparse
import pathlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from kdet.config import Config
    from kdet.detectors import Detector

# the words of --format and the readers that they stand for
READERS = {"coco": "CocoReader", "voc": "VocReader", "tfrecord": "TFRecordReader"}
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def add_recipe(parser: argparse.ArgumentParser, *, weights: bool = True, optional: bool = False) -> None:
    """Add the recipe, ``--weights`` and ``--set``."""
    parser.add_argument(
        "recipe",
        nargs="?" if optional else None,
        help="name of a recipe that ships with kdet (see `kdet zoo list`), or a YAML file",
    )
    if weights:
        parser.add_argument(
            "--weights",
            default="published",
            help="a .pth, .safetensors, .weights.h5 or .keras file, 'published' (default), 'imagenet', or "
            "'none': untrained, for trials",
        )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe, for example --set train.epochs=24 model.num_classes=3",
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Add ``--dtype`` for a model that runs here."""
    parser.add_argument(
        "--dtype",
        choices=list(DTYPES),
        default="float32",
        help="what is computed in; weights stay float32 (default float32)",
    )


def load_model(options: argparse.Namespace) -> "tuple[Config, Detector]":
    """Return the recipe and the model with its weights that the options name."""
    from kdet import zoo
    from kdet.config import Config

    config = Config.load(options.recipe, options.set)
    with zoo.dtype_policy(DTYPES.get(options.dtype) if "dtype" in options else None):
        model = config.build("model")
    zoo.fill(model, config, None if options.weights == "none" else options.weights)
    return config, model


def find_images(given: Iterable[str]) -> list[pathlib.Path]:
    """Return the files that were named, and the images in the folders that were named.

    Raises:
        FileNotFoundError: no such file or folder. ValueError: there is no image in any of them.
    """
    endings = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
    paths: list[pathlib.Path] = []
    for item in map(pathlib.Path, given):
        if item.is_dir():
            paths += sorted(path for path in item.iterdir() if path.suffix.lower() in endings)
        elif item.exists():
            paths.append(item)
        else:
            raise FileNotFoundError(f"There is no image or folder {item}.")
    if not paths:
        raise ValueError(f"There are no images ({', '.join(endings)}) in {', '.join(map(str, given))}.")
    return paths


def progress_bar(total: int, unit: str = "image") -> tqdm:
    """Return a progress bar on the standard error, silent where that is no terminal."""
    return tqdm(total=total, unit=f" {unit}s", disable=not sys.stderr.isatty(), leave=False)
